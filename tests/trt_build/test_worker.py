"""Builds in another process: the same plans, and a builder that crashes, hangs or eats memory costs one build only."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph
from tfgraphopt_trt.build import BuilderProcess, BuildOptions, build_in_worker, build_plan
from tfgraphopt_trt.build_options import NoBuilder
from tfgraphopt_trt.builder_process import BuilderDied
from tfgraphopt_trt.emit import EmitError
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.profiles import InputRange
from tfgraphopt_trt.worker_protocol import layer_sources
from trt_build.small_layers import F32, LAYERS, conv, declare, dense, graph, one, typed

BATCH = ({0: InputRange((1, 4), (8, 4), (32, 4))},)
IMAGES = ({0: InputRange((1, 8, 8, 3), (2, 8, 8, 3), (4, 8, 8, 3))},)


@pytest.fixture(scope="module")
def worker():
    with BuilderProcess() as process:
        yield process


def test_a_worker_builds_what_this_process_builds(worker: BuilderProcess) -> None:
    options = BuildOptions(layer_table=True)
    for body, profiles in ((dense(), BATCH), (conv(), IMAGES)):
        here, there = build_plan(body, LAYERS, profiles, options), worker.build(body, LAYERS, profiles, options)
        assert there.plan == here.plan
        assert (there.layers, there.transposes, len(there.table)) == (here.layers, here.transposes, len(here.table))


def test_the_worker_is_kept_and_knows_no_tensorflow(worker: BuilderProcess) -> None:
    starts = worker.starts
    worker.build(one("t.talkative"), LAYERS, BATCH)  # its emit asserts that there is no TensorFlow, and prints
    worker.build(dense(), LAYERS, BATCH)
    assert worker.starts == max(starts, 1)
    assert worker.hello["tensorflow"] is False


def liar() -> Graph:
    g = graph()
    x = g.add_input("x", typed(F32, None, 4))
    g.set_outputs([g.add("t.claim", [x], declare(typed(F32, None, 5)), name="liar", origin=["user/liar"]).output])
    return g


def test_errors_are_the_same_as_in_this_process(worker: BuilderProcess) -> None:
    cases = [(liar(), BATCH, EmitError), (dense(), (), ConfigError)]
    for body, profiles, kind in cases:
        with pytest.raises(kind) as here:
            build_plan(body, LAYERS, profiles)
        with pytest.raises(kind) as there:
            worker.build(body, LAYERS, profiles)
        assert str(there.value) == str(here.value)
        assert there.value.where == here.value.where


def test_a_crash_names_the_signal_and_the_next_build_works(worker: BuilderProcess) -> None:
    with pytest.raises(BuilderDied, match=r"TRTEngineOp_000_000.*SIGABRT") as died:
        worker.build(one("t.abort"), LAYERS, BATCH)
    assert died.value.reason == "signal"
    assert isinstance(died.value, EngineBuildFailed)
    assert worker.build(dense(), LAYERS, BATCH).plan


def test_a_hang_ends_at_the_time_limit(worker: BuilderProcess) -> None:
    worker.build(dense(), LAYERS, BATCH)  # start-up does not count
    started = time.monotonic()
    with pytest.raises(BuilderDied, match=r"time limit, 0\.5 s") as died:
        worker.build(one("t.hang"), LAYERS, BATCH, BuildOptions(timeout_seconds=0.5))
    assert 0.4 < time.monotonic() - started < 5
    assert died.value.reason == "timeout"
    assert worker.build(dense(), LAYERS, BATCH).plan


def test_memory_beyond_the_limit_ends_the_build(worker: BuilderProcess) -> None:
    with pytest.raises(BuilderDied, match="limit, 600 MiB") as died:
        worker.build(one("t.greedy"), LAYERS, BATCH, BuildOptions(memory_limit_bytes=600 * 2**20))
    assert died.value.reason == "memory"
    assert worker.build(dense(), LAYERS, BATCH, BuildOptions(memory_limit_bytes=600 * 2**20)).plan


def test_a_builder_killed_in_the_middle_costs_one_build(worker: BuilderProcess) -> None:
    worker.build(dense(), LAYERS, BATCH)
    pid = worker.pid
    assert pid is not None
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(BuilderDied, match="SIGKILL"):
        worker.build(one("t.hang"), LAYERS, BATCH)
    assert worker.build(dense(), LAYERS, BATCH).plan
    assert worker.pid != pid


def test_threads_take_turns(worker: BuilderProcess) -> None:
    plans: dict[int, bytes] = {}

    def build(seed: int) -> None:
        plans[seed] = worker.build(dense(seed=seed), LAYERS, BATCH).plan

    threads = [threading.Thread(target=build, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plans == {seed: build_plan(dense(seed=seed), LAYERS, BATCH).plan for seed in range(4)}


def test_a_worker_that_does_not_start_is_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(7)")
    monkeypatch.syspath_prepend(str(tmp_path))
    with BuilderProcess() as broken, pytest.raises(NoBuilder, match=r"does not start[\s\S]*status 7"):
        broken.build(dense(), LAYERS, BATCH)


def test_closing_leaves_no_process() -> None:
    worker = BuilderProcess()
    worker.build(dense(), LAYERS, BATCH)
    pid = worker.pid
    assert pid is not None
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_build_in_a_process_of_its_own() -> None:
    assert build_in_worker(dense(), LAYERS, BATCH).plan == build_plan(dense(), LAYERS, BATCH).plan


def test_layers_are_found_by_import_and_lost_ones_are_named() -> None:
    sources = layer_sources(LAYERS.values())
    assert sources["t.relu"] == "trt_build.small_layers:LAYERS"
    relu = LAYERS["t.relu"]
    lost = LayerDef("t.local", relu.infer, relu.meaning, lambda e, node: [])
    with pytest.raises(ConfigError, match=r"t\.local"):
        layer_sources([relu, lost])
