"""What the command line shows of the inside: rules, dumps, counts, journals, reproducers, bisection; on a broken plugin."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfgraphopt.cli import main

HERE = Path(__file__).parent
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """x - 7 - 3 (through a Reshape to its own shape), Relu, times 2."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [2, 4], name="x")
        h = tf.subtract(tf.reshape(tf.subtract(x, 7.0, name="seven"), [2, 4], name="same"), 3.0, name="three")
        tf.multiply(tf.nn.relu(h + 12.0, name="relu"), 2.0, name="y")
    path = tmp_path / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken plugin, installed as a distribution of its own."""
    site = tmp_path / "site"
    info = site / "acme_broken-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-broken\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[tfgraphopt]\nacme-broken = acme_broken_plugin\n")
    (site / "acme_broken_plugin.py").write_text((HERE / "broken_plugin.py").read_text())
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "acme_broken_plugin", raising=False)


# -- rules ---------------------------------------------------------------------------------------------------------------


def test_explain_says_where_a_rule_fires_and_where_not(model: Path, broken: None, capsys: Printed) -> None:
    assert main(["explain", str(model), "--rule", "minus-is-plus", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    places = {e["node"]: (e["fires"], e["reason"]) for e in tree["places"]["main"]}
    assert places == {"three": (True, "becomes Const, AddV2"), "seven": (False, "5 and more are left alone")}
    assert (tree["plugin"], tree["host"]) == ("acme-broken", "canonicalize")
    assert [a["root"] for a in tree["applied"]] == ["three"]
    assert main(["explain", str(model), "--rule", "minus-is-plus"]) == 0
    printed = capsys.readouterr().out
    assert "5 and more are left alone" in printed
    assert "canonicalize with all its rules then applied it 1 times" in printed


def test_explain_runs_passes_that_no_default_pipeline_has(model: Path, capsys: Printed) -> None:
    assert main(["explain", str(model), "--rule", "fold-scale"]) == 0
    assert "the pipeline does not contain fuse" in capsys.readouterr().out
    assert main(["explain", str(model), "--rule", "fold-scale", "--pipeline", "infer-types,fuse"]) == 0
    assert "does not contain" not in capsys.readouterr().out


def test_explain_of_a_rule_of_lowered_bodies_looks_into_them(model: Path, capsys: Printed) -> None:
    assert main(["explain", str(model), "--rule", "trt-merge-scale-and-shift", "--json"]) == 0
    (graph,) = json.loads(capsys.readouterr().out)["places"]
    assert graph.startswith("TRTEngineOp")


def test_explain_suggests_names_of_rules(model: Path, capsys: Printed) -> None:
    assert main(["explain", str(model), "--rule", "merge-reshape"]) == 1
    assert "did you mean merge-reshapes" in capsys.readouterr().err


def test_passes_and_plugins_list_rules_with_their_hosts(broken: None, capsys: Printed) -> None:
    assert main(["passes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    rule = next(r for r in listed["patterns"] if r["name"] == "minus-is-plus")
    assert (rule["host"], rule["plugin"]) == ("canonicalize", "acme-broken")
    assert rule["doc"] == "Wrong: subtracting a constant below 5 adds it."
    assert listed["pipelines"] == {"doomed": "infer-types,acme-crash,dce"}
    assert next(p for p in listed["passes"] if p["name"] == "acme-crash")["plugin"] == "acme-broken"
    assert main(["plugins", "--json"]) == 0
    mine = next(p for p in json.loads(capsys.readouterr().out)["plugins"] if p["name"] == "acme-broken")
    assert mine["hosts"] == ["minus-is-plus in canonicalize"]
    assert (mine["distribution"], mine["version"]) == ("acme-broken", "0.1")
    assert main(["plugins", "--all"]) == 0
    assert "minus-is-plus in canonicalize" in re.sub(r"\s*│[\s│]*", " ", capsys.readouterr().out)


# -- optimize ------------------------------------------------------------------------------------------------------------


def test_optimize_dumps_counts_and_keeps_a_journal(model: Path, tmp_path: Path, broken: None, capsys: Printed) -> None:
    asked = ["--dump", str(tmp_path / "dump"), "--op-counts", "--engine", "none", "-o", str(tmp_path / "out.pb")]
    assert main(["optimize", str(model), *asked, "--journal", str(tmp_path / "journal.txt")]) == 0
    assert re.search(r"canonicalize: .*Sub -1 \(2->1\)", capsys.readouterr().out)
    diff = next((tmp_path / "dump").glob("*_canonicalize.diff")).read_text()
    assert re.search(r"^-.*Sub\(", diff, re.MULTILINE)
    assert re.search(r"^\+.*AddV2\(", diff, re.MULTILINE)
    journal = (tmp_path / "journal.txt").read_text().splitlines()
    assert "Sub 'three' removed by canonicalize (rule minus-is-plus) in graph 'main'" in journal

    assert main(["optimize", str(model), *asked, "--journal", str(tmp_path / "journal.json"), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["op_counts"]
    assert next(c for c in counts if c["step"] == "canonicalize")["changes"]["Sub"] == [2, 1]
    events = json.loads((tmp_path / "journal.json").read_text())
    (removed,) = (e for e in events if e["node"] == "three" and e["kind"] == "removed")
    assert (removed["step"], removed["rule"], removed["op"]) == ("canonicalize", "minus-is-plus", "Sub")


def test_a_failure_names_its_reproducer_and_the_reproducer_replays(
    model: Path, tmp_path: Path, broken: None, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["optimize", str(model), "--pipeline", "doomed", "-o", str(tmp_path / "out.pb")]) == 1
    message = capsys.readouterr().err
    assert "acme divides by zero" in message
    path = re.search(r"tfgraphopt reproduce (\S+)", message)
    assert path is not None
    assert Path(path[1]).parent == tmp_path
    assert not (tmp_path / "out.pb").exists()
    assert main(["reproduce", path[1]]) == 1
    assert "acme divides by zero" in capsys.readouterr().err
    assert main(["reproduce", path[1], "--no-plugin", "acme-broken"]) == 1
    assert "there is no pass 'acme-crash'" in capsys.readouterr().err


def test_the_reproducer_goes_where_it_is_told_and_is_not_written_for_usage_errors(
    model: Path, tmp_path: Path, broken: None, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    where, out = tmp_path / "here", str(tmp_path / "out.pb")
    asked = ["--reproducer", str(where), "-o", out]
    assert main(["optimize", str(model), "--shape", "z=1x1", *asked]) == 1
    assert "input_shapes names ['z']" in capsys.readouterr().err
    assert not where.exists()
    assert main(["optimize", str(model), "--pipeline", "doomed", *asked]) == 1
    facts = json.loads((where / "reproducer.json").read_text())
    assert facts["pipeline"] == "acme-crash,dce"
    assert "acme-broken" in {p["name"] for p in facts["plugins"]}
    facts["pipeline"] = "dce"
    (where / "reproducer.json").write_text(json.dumps(facts))
    capsys.readouterr()
    assert main(["reproduce", str(where), "--json", "--dump", str(tmp_path / "replayed")]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] is False
    assert (tmp_path / "replayed" / "000_input.ir").exists()
    assert main(["reproduce", str(tmp_path)]) == 1
    assert "is not a reproducer" in capsys.readouterr().err


def test_a_failure_after_lowering_replays_from_the_beginning(
    model: Path, tmp_path: Path, broken: None, capsys: Printed
) -> None:
    """Passes leave results for each other that are not in the IR: profiles, segments."""
    where = tmp_path / "here"
    text = "infer-types,segment{min-size=1},lower,acme-crash,build-engines"
    asked = ["--reproducer", str(where), "-o", str(tmp_path / "out.pb")]
    assert main(["optimize", str(model), "--pipeline", text, *asked]) == 1
    facts = json.loads((where / "reproducer.json").read_text())
    assert (facts["pass"], facts["pipeline"], facts["from"]) == ("acme-crash", text, "input.ir")
    assert "TRTEngineOp" in (where / "module.ir").read_text()
    assert "TRTEngineOp" not in (where / "input.ir").read_text()
    assert main(["reproduce", str(where)]) == 1
    assert "acme divides by zero" in capsys.readouterr().err


# -- bisect --------------------------------------------------------------------------------------------------------------


def test_bisect_names_the_rule_and_the_node(model: Path, broken: None, capsys: Printed) -> None:
    assert main(["bisect", str(model), "--outputs", "y", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)["culprit"]
    assert found["action"] == "rule minus-is-plus at Sub node 'three' of graph 'main'"
    assert found["index"] < found["total"]
    assert found["runs"] <= 2 + found["total"].bit_length()


def test_bisect_of_a_good_model_and_on_given_data(model: Path, tmp_path: Path, broken: None, capsys: Printed) -> None:
    assert main(["bisect", str(model), "--no-plugin", "acme-broken"]) == 0
    assert "the optimised model is good" in capsys.readouterr().out
    np.savez(tmp_path / "blind.npz", x=np.full((2, 4), -100, np.float32))  # Relu hides the difference
    assert main(["bisect", str(model), "--data", str(tmp_path / "blind.npz")]) == 0
    capsys.readouterr()
    assert main(["bisect", str(model), "--data", str(tmp_path / "none.npz")]) == 1
    assert "holds no arrays" in capsys.readouterr().err


def test_bisect_asks_a_script(model: Path, tmp_path: Path, broken: None, capsys: Printed) -> None:
    script = tmp_path / "check.py"
    script.write_text("import pathlib, sys\nsys.exit(pathlib.Path(sys.argv[-1]).read_bytes().count(b'Sub') < 2)\n")
    assert main(["bisect", str(model), "--check", str(script)]) == 3
    assert "rule minus-is-plus at Sub node 'three'" in capsys.readouterr().out
    assert main(["bisect", str(model), "--check", "no_such_program_at_all"]) == 1
    assert "cannot be run" in capsys.readouterr().err


def test_bisect_blames_a_pass_that_crashes(model: Path, broken: None, capsys: Printed) -> None:
    assert main(["bisect", str(model), "--pipeline", "doomed"]) == 3
    assert "pass acme-crash on graph 'main'" in capsys.readouterr().out


def test_bisect_leaves_usage_errors_to_the_caller(model: Path, capsys: Printed) -> None:
    assert main(["bisect", str(model), "--check", "true", "--shape", "z=1x1"]) == 1
    assert "input_shapes names ['z']" in capsys.readouterr().err
