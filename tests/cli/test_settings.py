"""Configuration files, exit codes, completion, and what all commands have in common."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from main_job.test_bad_input import small_graph

from tfgraphopt.cli import common, main
from tfgraphopt.cli.parser import COMMANDS, build_parsers
from tfgraphopt.cli.settings import options_of, prepare
from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import ConfigError

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "model.pb"
    path.write_bytes(small_graph().SerializeToString())
    return str(path)


def config_from(text: str, tmp_path: Path, *arguments: str) -> Config:
    """The configuration of `optimize` with a file of this text."""
    file = tmp_path / "tfgraphopt.toml"
    file.write_text(text)
    parsers = build_parsers()
    given = ["optimize", "m.pb", "-o", "o.pb", "--config", str(file), *arguments]
    prepare(parsers, given)
    return common.config_of(parsers.program.parse_args(given))


def test_a_file_sets_every_kind_of_option(tmp_path: Path) -> None:
    config = config_from(
        """
        precision = "FP16"
        max-batch-size = 32
        deny-op = ["TopKV2", "Where"]
        strict = true
        build-timeout = 7.5
        seconds = 20    # an option of bench only
        [shape]
        x = "1x3:8x3:32x3"
        [option.int8]
        calibrator = "entropy"
        samples = 512
        skip = true
        [optimize]
        min-segment-size = 7
        [bench]
        warmup = 9
        """,
        tmp_path, "--deny-op", "Cast", "--max-batch-size", "4",
    )  # fmt: skip
    assert (config.precision, config.minimum_segment_size, config.build_timeout) == ("fp16", 7, 7.5)
    assert config.max_batch_size == 4  # the command line goes before the file
    assert config.denied_ops == {"TopKV2", "Where", "Cast"}  # options that repeat add up
    assert config.strict
    assert config.options == {"int8": {"calibrator": "entropy", "samples": 512, "skip": True}}


def test_profiles_and_shapes_come_from_tables(tmp_path: Path) -> None:
    config = config_from('[shape]\nx = ["1x3:8x3:32x3", "64x3"]\n', tmp_path)
    assert config.input_shapes["x"] == (ShapeRange((1, 3), (8, 3), (32, 3)), ShapeRange((64, 3), (64, 3), (64, 3)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("precison = 'fp16'", "'precison' is no option of any command\n  what to do: did you mean precision?"),
        ("[bench]\nstrict = true", "'strict' is no option of bench"),
        ("precision = 'fp64'", "it is one of fp32, fp16, bf16, int8"),
        ("max-batch-size = 'many'", "invalid literal for int"),
        ("max-batch-size = true", "one value is wanted, not a bool"),
        ("strict = 'yes'", "it is true or false"),
        ("deny-op = 'Relu'", "a list or a table is wanted"),
        ("strict = ", "it must be TOML"),
    ],
)
def test_wrong_files_are_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=str(tmp_path)) as caught:
        config_from(text, tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_printed_file_is_complete_and_reads_back(command: str, tmp_path: Path, capsys: Printed) -> None:
    assert main([command, "--print-config"]) == 0
    printed = capsys.readouterr().out
    tree = tomllib.loads(printed)[command]
    unset = {line.removeprefix("# ").removesuffix(" =") for line in printed.splitlines() if line.endswith(" =")}
    assert tree.keys() | unset == options_of(build_parsers().commands[command]).keys()
    file = tmp_path / "printed.toml"
    file.write_text(printed)
    assert main([command, "--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == printed


def test_a_file_can_name_the_model_and_the_output(model: str, tmp_path: Path, capsys: Printed) -> None:
    out = tmp_path / "out.pb"
    file = tmp_path / "job.toml"
    file.write_text(f'engine = "none"\n[optimize]\nmodel = "{model}"\noutput = "{out}"\noutputs = "y"\njson = true\n')
    assert main(["optimize", "--config", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["segments"]
    assert out.exists()
    assert main(["optimize", "--config", str(file), "--print-config", "--strict"]) == 0
    printed = tomllib.loads(capsys.readouterr().out)["optimize"]
    assert (printed["model"], printed["strict"], printed["engine"]) == (model, True, "none")


def test_options_of_plugins_are_values(tmp_path: Path) -> None:
    given = ["--option", "int8.samples=12", "--option", "precision.lower=['a','b']", "--option", "int8.calibrator=mse"]
    config = config_from("", tmp_path, *given, "--option", "layout.keep-nhwc=true", "--calibration", "s.json")
    assert config.options["int8"] == {"samples": 12, "calibrator": "mse", "statistics": "s.json"}
    assert config.options["precision"] == {"lower": ["a", "b"]}
    assert config.options["layout"] == {"keep_nhwc": True}
    with pytest.raises(ConfigError, match="has a value already"):
        config_from("", tmp_path, "--option", "a=1", "--option", "a.b=2")


# -- all commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "completion"])
def test_every_command_prints_json(command: str) -> None:
    assert "json" in options_of(build_parsers().commands[command])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_a_meaning(command: str) -> None:
    for key, action in options_of(build_parsers().commands[command]).items():
        assert action.help, f"{command} {key}"


def test_errors_are_json_where_json_is_read(model: str, capsys: Printed) -> None:
    assert main(["explain", model, "--shape", "x=1x9x8x3", "--json"]) == 1
    printed = capsys.readouterr()
    error = json.loads(printed.out)["error"]
    assert error["kind"] == "ConfigError"
    assert "does not fit the input's shape" in error["what"]
    assert "does not fit the input's shape" in printed.err


def test_wrong_usage_and_the_version(capsys: Printed) -> None:
    with pytest.raises(SystemExit) as left:
        main(["optimise"])
    assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("tfgraphopt 0.")


def test_parsing_does_not_import_tensorflow() -> None:
    """Help, completion and --print-config answer at once."""
    code = "import sys; from tfgraphopt.cli import main; main(['bench', '--print-config']); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


# -- processes -----------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_json_and_nothing_else(model: str, capsys: Printed) -> None:
    assert main(["explain", model, "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["segments"]


def test_a_terminal_sees_progress_while_stdout_is_a_pipe(model: str) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # tox sets it; the command's own choice is what a user has
    command = [sys.executable, "-m", "tfgraphopt", "explain", model, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["segments"]
    os.close(ours)
    assert any(step in seen for step in (b"loading", b"importing", b"infer-types", b"segment", b"exporting"))
    assert b"absl" not in seen  # what TensorFlow says about drivers when it is imported


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side of a terminal is closed: Linux says EIO
        return b""


def test_bash_completes_commands_options_and_choices(capsys: Printed, tmp_path: Path) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)

    def completed(*words: str) -> set[str]:
        typed = " ".join(f"'{w}'" for w in words)
        ask = (
            f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; "
            "_shtab_tfgraphopt; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, timeout=60)
        return {line.strip() for line in done.stdout.splitlines() if line.strip()}

    assert completed("tfgraphopt", "b") == {"bench", "bisect"}
    assert {"--precision", "--print-config"} <= completed("tfgraphopt", "optimize", "--pr")
    assert completed("tfgraphopt", "optimize", "--precision", "b") == {"bf16"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell: str, capsys: Printed) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)


def test_a_list_of_a_plugin_is_one_value(tmp_path: Path) -> None:
    options = config_from("[option.int8]\nskip = ['name=a*', 'name=b*']\namax = { x = 1.5 }", tmp_path).options
    assert options["int8"] == {"skip": ["name=a*", "name=b*"], "amax": {"x": 1.5}}


def test_what_was_set_is_printed_and_reads_back(tmp_path: Path, capsys: Printed) -> None:
    given = [
        "optimize", "a model.keras", "-o", 'out "dir"', "--precision", "FP16", "--shape", "x=1x4:2x4:8x4", "--shape", "x=1x4",
        "--option", "int8.skip=['a', 'b']", "--deny-node", "100%/*", "--strict", "--build-timeout", "2.5", "--max-batch-size", "7",
    ]  # fmt: skip
    assert main([*given, "--print-config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "all.toml").write_text(printed)
    assert main(["optimize", "--config", str(tmp_path / "all.toml"), "--print-config"]) == 0
    assert capsys.readouterr().out == printed, "also the usual values that its comments tell"
    set_ = tomllib.loads(printed)["optimize"]
    assert (set_["model"], set_["precision"], set_["max-batch-size"]) == ("a model.keras", "fp16", 7)
    assert set_["deny-node"] == ["100%/*"]
    assert "default: fp32" in printed
