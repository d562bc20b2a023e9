"""Without PyCUDA or a GPU: one clear message, and nothing else is disturbed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tfgraphopt import plugins
from tfgraphopt.benchmark import EngineRequest
from tfgraphopt.cli import main
from tfgraphopt.contestants import engine_by_itself
from tfgraphopt.diagnosis import diagnose
from tfgraphopt.errors import ConfigError, MissingDependency
from tfgraphopt_pycuda import Gpu, pycuda_api
from tfgraphopt_pycuda.bench import RUNTIME_VARIABLE

INSTALLED = importlib.util.find_spec("pycuda") is not None
no_pycuda = pytest.mark.skipif(INSTALLED, reason="PyCUDA is installed here: its absence cannot be tested")


@no_pycuda
def test_the_message_says_what_is_missing_and_what_to_install() -> None:
    with pytest.raises(MissingDependency) as caught:
        Gpu()
    assert caught.value.why == "the package pycuda is not installed" == pycuda_api.unusable()
    assert "tfgraphopt[pycuda]" in caught.value.hint


@no_pycuda
def test_bench_of_an_engine_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tfgraphopt.native import build_op_library
    from tfgraphopt_trt import engine_op as eo

    source = Path(__file__).parents[1] / "engine_op" / "scale_runtime.cc"
    library = build_op_library("test_scale_runtime", [source, Path(eo.__file__).parent / "engine_runtime.h"])
    monkeypatch.setenv(RUNTIME_VARIABLE, f"{library}:scale_runtime")
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"3 1-4")
    assert main(["bench", "--engine", str(plan), "--shape", "input_0=2x3"]) == 1
    assert "the package pycuda is not installed" in capsys.readouterr().err


@no_pycuda
def test_doctor_says_so_too() -> None:
    (finding,) = (f for f in diagnose(plugins.load(only=["pycuda"])) if f.subject == "PyCUDA")
    assert (finding.state, finding.text) == ("missing", "the package pycuda is not installed")
    assert "tfgraphopt[pycuda]" in finding.hint


def test_a_broken_installation_of_pycuda_is_a_missing_dependency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pycuda"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "driver.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    with pytest.raises(MissingDependency, match=r"its library does not load: libcuda\.so\.1") as caught:
        pycuda_api.load()
    assert "driver" in caught.value.hint
    (finding,) = (f for f in diagnose(plugins.load(only=["pycuda"])) if f.subject == "PyCUDA")
    assert finding.state == "note"


def test_a_file_that_no_runtime_knows_is_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"what is this")
    with pytest.raises(ConfigError, match="no plugin runs the engine"):
        engine_by_itself(EngineRequest(plan), plugins.load(only=["pycuda"]))


def test_a_runtime_is_named_by_library_and_symbol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, "nonsense")
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"3 1-4")
    with pytest.raises(ConfigError, match="it has to be LIBRARY:SYMBOL"):
        engine_by_itself(EngineRequest(plan), plugins.load(only=["pycuda"]))
