"""Benchmarks: known clocks through the whole machinery, real sessions, engines of a stranger's plugin."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from framework.test_plugins import plugin

from tfgraphopt import plugins
from tfgraphopt.benchmark import Contestant, EngineRequest, Latency, Measured, Schedule, race, speedup
from tfgraphopt.cli import main
from tfgraphopt.contestants import engine_by_itself, in_session
from tfgraphopt.errors import ConfigError

Printed = pytest.CaptureFixture[str]
QUICK = Schedule(seconds=0.1, min_runs=10, warmup_runs=1, warmup_seconds=0.1)


def sleeper(name: str, seconds: float, calls: list[str] | None = None) -> Contestant:
    def run() -> Mapping[str, float]:
        if calls is not None:
            calls.append(name)
        time.sleep(seconds)
        return {"half": seconds / 2}

    return Contestant(name, run, items=4)


def measured(name: str, seconds: np.ndarray) -> Measured:
    return Measured(name, 1, {"wall": seconds}, 0.0, 0, True, 0.0, 1)


def test_sleeping_contestants_are_timed_and_compared() -> None:
    slow, fast = race([sleeper("slow", 0.004), sleeper("fast", 0.001)], QUICK)
    assert 0.004 <= slow.latency["wall"].min <= slow.latency["wall"].p50 < 0.02
    assert slow.latency["half"].max == 0.002
    assert slow.throughput == pytest.approx(4 / slow.latency["wall"].mean)
    ratio = speedup(fast, slow)
    assert 1 < ratio.low <= ratio.ratio <= ratio.high
    assert "fast is faster than slow" in str(ratio)
    assert "slow is SLOWER than fast" in str(speedup(slow, fast))


def test_contestants_take_turns_and_who_begins_changes() -> None:
    calls: list[str] = []
    schedule = Schedule(seconds=0.0, min_runs=4, max_runs=4, warmup_runs=0, warmup_seconds=0.0)
    race([sleeper("a", 0, calls), sleeper("b", 0, calls), sleeper("c", 0, calls)], schedule)
    rounds = "".join(calls)[-12:]
    assert [rounds[i : i + 3] for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]


def test_warming_up_goes_on_until_latency_falls_no_further() -> None:
    left = iter([0.02] * 6 + [0.001] * 1000)
    (found,) = race([Contestant("cold", lambda: time.sleep(next(left)))], Schedule(seconds=0.0, min_runs=5))
    assert found.steady
    assert found.warmup_runs > 6
    assert found.first_seconds >= 0.02
    assert found.latency["wall"].max < 0.02


def test_the_interval_holds_the_true_ratio_and_tells_no_difference_from_one() -> None:
    rng = np.random.default_rng(3)
    noise = np.exp(rng.normal(scale=0.3, size=(2, 200)))
    ratio = speedup(measured("made", noise[0]), measured("base", 2 * noise[1]))
    assert ratio.low < 2 < ratio.high
    same = speedup(measured("made", noise[0]), measured("base", noise[1]))
    assert same.low < 1 < same.high
    assert "no difference that this measurement can tell" in str(same)


def test_percentiles_are_those_of_the_samples() -> None:
    latency = Latency.of(np.arange(1, 102, dtype=float))
    assert (latency.p50, latency.p90, latency.p99, latency.max, latency.runs) == (51, 91, 100, 101, 101)


def test_concurrent_callers_are_counted_together_and_their_errors_raised() -> None:
    schedule = Schedule(seconds=0.4, min_runs=3, max_runs=3, warmup_runs=0, warmup_seconds=0.0, concurrency=4)
    (found,) = race([sleeper("s", 0.01)], schedule)
    one_thread = 4 / 0.01  # 4 items each time it has slept: what a single caller reaches at most
    assert one_thread < found.throughput <= 4 * one_thread

    calls = iter(range(1000))

    def breaks() -> None:
        if next(calls) > 20:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        race([Contestant("b", breaks)], schedule)


# -- models --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A product, and the same 150 times over: no load of the machine hides the difference."""
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) / 8

    def write(name: str, count: int) -> str:
        with tf.Graph().as_default() as graph:
            x = tf.compat.v1.placeholder(tf.float32, [None, 64], name="x")
            h = x
            for _ in range(count):
                h = tf.nn.relu(tf.matmul(h, w))
            tf.identity(h, name="y")
        path = tmp_path / f"{name}.pb"
        path.write_bytes(graph.as_graph_def().SerializeToString())
        return str(path)

    return write("long", 150), write("short", 1)


BRIEF = ["--seconds", "0.2", "--warmup", "2", "--warmup-seconds", "1", "--shape", "x=512x64"]


def test_bench_compares_an_original_with_its_optimised_form(files: tuple[str, str], capsys: Printed) -> None:
    assert main(["bench", *files, *BRIEF, "--min-speedup", "1.1", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    original, optimised = tree["contestants"]
    assert (original["name"], optimised["name"]) == ("original", "optimised")
    assert original["items"] == 512
    assert len(original["samples"]["wall"]) == original["latency"]["wall"]["runs"] >= 20
    assert tree["speedups"][0]["low"] > 1.1
    assert tree["reached"] is True
    assert tree["machine"]["tensorflow"] == tf.__version__
    assert main(["bench", *reversed(files), *BRIEF, "--min-speedup", "1"]) == 3
    printed = capsys.readouterr().out
    assert "optimised is SLOWER than original" in printed
    assert "speed-up of 1: NOT reached" in printed


def test_bench_of_one_model_on_given_data_with_xla(files: tuple[str, str], tmp_path: Path, capsys: Printed) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones((3, 64), np.float32))
    asked = ["--seconds", "0.1", "--warmup-seconds", "0.2", "--data", str(tmp_path / "x.npz")]
    assert main(["bench", files[1], *asked, "--xla", "--concurrency", "2", "--json"]) == 0
    original, xla = json.loads(capsys.readouterr().out)["contestants"]
    assert (original["items"], xla["name"], xla["concurrency"]) == (3, "original, XLA", 2)
    np.savez(tmp_path / "x.npz", z=np.ones((3, 64), np.float32))
    assert main(["bench", files[1], *asked]) == 1
    assert "there is no input 'z'; input 'x' has no array" in capsys.readouterr().err


def test_bench_says_which_engines_ran(capsys: Printed, tmp_path: Path) -> None:
    from main_job.test_bad_input import small_graph

    (tmp_path / "m.pb").write_bytes(small_graph().SerializeToString())
    out = str(tmp_path / "o.pb")
    assert main(["optimize", str(tmp_path / "m.pb"), "--outputs", "y", "--engine", "none", "-o", out]) == 0
    capsys.readouterr()
    asked = ["--outputs", "y", "--seconds", "0.1", "--warmup-seconds", "0.2", "--shape", "x=1x8x8x3"]
    assert main(["bench", str(tmp_path / "m.pb"), out, *asked, "--json"]) == 0
    (remark,) = json.loads(capsys.readouterr().out)["contestants"][1]["remarks"]
    assert "TRTEngineOp_000_000: its engine NEVER ran: TensorFlow ran its body" in remark


def test_bench_usage_errors(files: tuple[str, str], capsys: Printed) -> None:
    assert main(["bench"]) == 1
    assert "there is nothing to time" in capsys.readouterr().err
    assert main(["bench", files[0], *BRIEF, "--min-speedup", "2"]) == 1
    assert "name both" in capsys.readouterr().err


# -- engines by themselves -----------------------------------------------------------------------------------------------


def runs_acme(closed: list[str]) -> Callable[[EngineRequest], Contestant | None]:
    def bench_engine(request: EngineRequest) -> Contestant | None:
        if request.plan.read_bytes()[:4] != b"ACME":
            return None
        items = request.shapes.get("x", (1,))[0]
        return Contestant(
            f"acme {request.plan.name}", lambda: {"gpu": 0.001}, items, close=lambda: closed.append("acme")
        )

    return bench_engine


def test_bench_engine_is_answered_by_the_plugin_that_knows_the_file(tmp_path: Path) -> None:
    closed: list[str] = []
    tables = plugins.load(only=[], extra=[("acme", plugin(bench_engine=runs_acme(closed)))], strict=True)
    plan = tmp_path / "a.plan"
    plan.write_bytes(b"ACME and more")
    found = engine_by_itself(EngineRequest(plan, shapes={"x": (7, 3)}), tables)
    assert found.items == 7
    assert race([found], QUICK)[0].latency["gpu"].p99 == 0.001
    found.close()
    assert closed == ["acme"]
    plan.write_bytes(b"????")
    with pytest.raises(ConfigError, match="no plugin runs the engine"):
        engine_by_itself(EngineRequest(plan), tables)
    with pytest.raises(ConfigError, match="there is no engine file"):
        engine_by_itself(EngineRequest(tmp_path / "none"), tables)


def test_bench_times_an_engine_of_an_installed_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed, files: tuple[str, str]
) -> None:
    site = tmp_path / "site"
    info = site / "acme_bench-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-bench\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[tfgraphopt]\nacme-bench = acme_bench_plugin\n")
    (site / "acme_bench_plugin.py").write_text(
        "import tfgraphopt as tgo\nfrom tfgraphopt.benchmark import Contestant\n\n\n@tgo.hookimpl\n"
        "def tfgraphopt_bench_engine(request):\n    return Contestant(request.plan.stem, lambda: {'gpu': 0.002}, 2)\n"
    )
    monkeypatch.syspath_prepend(str(site))
    plan = tmp_path / "resnet.plan"
    plan.write_bytes(b"ACME")
    assert main(["bench", files[1], "--engine", str(plan), *BRIEF, "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [c["name"] for c in tree["contestants"]] == ["original", "resnet"]
    assert tree["contestants"][1]["latency"]["gpu"]["p50"] == 0.002
    assert main(["bench", "--engine", str(plan), "--seconds", "0.1"]) == 0
    assert "resnet" in capsys.readouterr().out


def test_a_session_refuses_data_that_does_not_fit() -> None:
    with tf.Graph().as_default() as graph:
        tf.identity(tf.compat.v1.placeholder(tf.float32, [2], name="x"), name="y")
    with pytest.raises(ConfigError, match="input 'x' has no array"):
        in_session("m", graph.as_graph_def(), ["y"], {})
