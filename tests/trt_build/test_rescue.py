"""A layer that crashes, hangs or starves the builder costs its node, not the segment, and never the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf
from main_job.jobs import in_session

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt import plugins
from tfgraphopt.errors import EngineBuildFailed, PassFailed
from tfgraphopt_trt.build_options import BuildOptions, NoBuilder
from tfgraphopt_trt.builder_process import BuilderDied, BuilderProcess
from tfgraphopt_trt.culprits import beginning, locate
from tfgraphopt_trt.engine_cache import EngineCache
from tfgraphopt_trt.failed_builds import recall, remember
from trt_build import hostile
from trt_build.small_layers import dense

X = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(16, 16)).astype(np.float32) / 4


def block(h: Any) -> Any:
    return tf.nn.relu(tf.nn.tanh(tf.matmul(h, W)))


def model(*bad: Callable[..., Any]) -> tf.compat.v1.GraphDef:
    """Blocks of three nodes with a bad node after each but the last, called bad_0, bad_1, ..."""
    with tf.Graph().as_default() as graph:
        h = block(tf.compat.v1.placeholder(tf.float32, [None, 16], name="x"))
        for index, op in enumerate(bad):
            h = block(op(h, name=f"bad_{index}"))
        tf.identity(h, name="y")
    return graph.as_graph_def()


def optimise(
    graph: tf.compat.v1.GraphDef, precision: str = "fp32", data: Any = None, int8: Any = None, cache: bool = False,
    **options: Any,
) -> tgo.Result:  # fmt: skip
    """Optimise with the hostile plugin; the result computes what the original computes."""
    prefer = dict.fromkeys(hostile.HARMS, "hostile")
    tables = plugins.load(strict=True, extra=[("hostile", hostile)], prefer=prefer)
    config = tgo.Config(
        max_batch_size=4,
        precision=precision,
        minimum_segment_size=2,
        options={"engine_cache": cache, "int8": int8 or {}},
        **options,
    )
    result = tgo.optimize_graph_def(graph, ["y"], config, tables=tables, calibration_data=data)
    (got,), (wanted,) = (in_session(g, ["y"], {"x": X}) for g in (result.graph_def, graph))
    np.testing.assert_array_equal(got, wanted)
    return result


def statuses(result: tgo.Result) -> dict[str, str]:
    return {name: s.status for name, s in result.report.segments.items()}


def steps(result: tgo.Result) -> list[str]:
    found: list[str] = result.report.segments["TRTEngineOp_000_000"].details["build_steps"]
    return found


SPLIT = {"TRTEngineOp_000_000": "build failed", "TRTEngineOp_000_001": "built", "TRTEngineOp_000_002": "built"}


@pytest.mark.parametrize(
    ("bad", "limits", "said"),
    [
        (tf.nn.softsign, {}, "SIGABRT"),
        (tf.nn.softplus, {"build_timeout": 5.0}, "time limit, 5 s"),
        (tf.nn.selu, {"build_memory_bytes": 600 * 2**20}, "more memory than the limit, 600 MiB"),
    ],
    ids=["crash", "hang", "memory"],
)
def test_the_culprit_stays_in_tensorflow_and_the_rest_is_built(
    bad: Callable[..., Any], limits: dict[str, Any], said: str
) -> None:
    result = optimise(model(bad), **limits)
    assert statuses(result) == SPLIT
    verdict = result.report.verdicts["bad_0"]
    assert (verdict.status, said in verdict.reason) == ("build failed", True)
    others = {n: v for n, v in result.report.verdicts.items() if v.op in ("MatMul", "Tanh", "Relu")}
    assert {v.status for v in others.values()} == {"converted"}
    assert {v.segment for v in others.values()} == {"TRTEngineOp_000_001", "TRTEngineOp_000_002"}
    assert said in steps(result)[0]
    assert steps(result)[1].startswith("the culprit is bad_0 (bisected in ")
    assert steps(result)[2] == "bad_0 excluded; the rest is TRTEngineOp_000_001, TRTEngineOp_000_002"
    assert sum(n.op == "TRTEngineOp" for n in result.graph_def.node) == 2


def test_two_culprits_are_found_one_after_the_other() -> None:
    result = optimise(model(tf.nn.softsign, tf.nn.softsign))
    assert sorted(statuses(result).values()) == ["build failed", "build failed", "built", "built", "built"]
    failed = [n for n, v in result.report.verdicts.items() if v.status == "build failed"]
    assert failed == ["bad_0", "bad_1"]


def test_in_half_precision_the_culprit_is_tried_in_float32_first() -> None:
    result = optimise(model(tf.nn.elu), "fp16")
    assert statuses(result) == {"TRTEngineOp_000_000": "built"}
    layers = result.report.segments["TRTEngineOp_000_000"].details["precision"]["plan"]["layers"]
    assert {p["precision"] for p in layers.values() if "bad_0" in p["nodes"]} == {"fp32"}
    assert {p["precision"] for p in layers.values() if p["op"] == "trt.matrix_multiply"} == {"fp16"}
    assert any("built again with" in m and "float32" in m for m in result.report.messages)
    assert steps(result)[-2].startswith("the culprit is bad_0")
    assert steps(result)[-1] == "precision has changed the body; it is built again"


def test_what_float32_does_not_help_is_excluded_and_the_rest_keeps_its_precision() -> None:
    result = optimise(model(tf.nn.softsign), "fp16")
    assert statuses(result) == SPLIT
    assert [line.split()[0] for line in steps(result)] == ["failed:", "the", "precision", "failed:", "the", "bad_0"]
    for name in ("TRTEngineOp_000_001", "TRTEngineOp_000_002"):
        layers = result.report.segments[name].details["precision"]["plan"]["layers"]
        assert {p["precision"] for p in layers.values() if p["op"] == "trt.matrix_multiply"} == {"fp16"}


def test_what_is_left_of_a_quantised_segment_is_quantised() -> None:
    result = optimise(model(tf.nn.softsign), "int8", data=[X, -X], int8={"rest": "fp32"})
    assert statuses(result) == SPLIT
    first = result.report.segments["TRTEngineOp_000_001"]
    assert first.details["int8"]["int8_layers"] == 1
    assert first.layers["QUANTIZE"] == 1
    assert first.details["int8"]["audit"]["kernels_by_type"]["Int8"] == 1


def test_a_crash_that_does_not_come_again_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hostile.ONCE, str(tmp_path / "crashed"))
    result = optimise(model(tf.nn.sigmoid))
    assert statuses(result) == {"TRTEngineOp_000_000": "built"}
    assert steps(result)[-1] == "it builds when it is tried again"


def test_a_segment_that_is_all_culprit_is_left_in_tensorflow() -> None:
    with tf.Graph().as_default() as graph:
        h = tf.nn.softsign(tf.compat.v1.placeholder(tf.float32, [None, 16], name="x"), name="a")
        tf.identity(tf.nn.softsign(h, name="b"), name="y")
    result = optimise(graph.as_graph_def())
    assert statuses(result) == {"TRTEngineOp_000_000": "build failed"}
    assert not any(n.op == "TRTEngineOp" for n in result.graph_def.node)
    assert "the rest is too small for engines" in steps(result)[-1]


def test_a_culprit_that_the_caller_fetches_keeps_its_name() -> None:
    with tf.Graph().as_default() as graph:
        h = block(tf.compat.v1.placeholder(tf.float32, [None, 16], name="x"))
        tf.nn.softsign(h, name="y")
    result = optimise(graph.as_graph_def())
    assert statuses(result) == {"TRTEngineOp_000_000": "build failed", "TRTEngineOp_000_001": "built"}
    assert result.report.verdicts["y"].status == "build failed"


def test_a_second_optimisation_builds_nothing_and_probes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path))
    graph = model(tf.nn.softsign)
    first = optimise(graph, cache=True)
    monkeypatch.setattr(BuilderProcess, "build", None)  # any build would be an error
    second = optimise(graph, cache=True)
    assert statuses(second) == statuses(first) == SPLIT
    assert [s.cached for s in second.report.segments.values()] == [False, True, True]
    assert steps(second)[0].startswith("failed before: the builder process died")
    assert second.report.verdicts["bad_0"].reason == first.report.verdicts["bad_0"].reason
    (failed,) = [e for e in EngineCache().ls() if e.name.startswith("(failed)")]
    assert EngineCache().rm([failed.key]) == 1
    with pytest.raises(PassFailed, match="not callable"):  # forgotten: it wants to build
        optimise(graph, cache=True)


def test_a_failure_is_remembered_for_the_limits_it_had(tmp_path: Path) -> None:
    cache, tight = EngineCache(tmp_path / "engines"), BuildOptions(timeout_seconds=10, memory_limit_bytes=10)
    remember(cache, "a" * 64, "engine", BuilderDied("g", "timeout", "10 s").at(["node"]), tight)
    found = recall(cache, "a" * 64, tight)
    assert found is not None
    assert (found.where, "time limit" in found.what) == (("node",), True)
    assert recall(cache, "a" * 64, attrs.evolve(tight, timeout_seconds=5)) is not None
    for wider in ({"timeout_seconds": 11}, {"timeout_seconds": None}, {"memory_limit_bytes": 11}):
        assert recall(cache, "a" * 64, attrs.evolve(tight, **wider)) is None
    remember(cache, "b" * 64, "engine", BuilderDied("g", "timeout", "10 s"), tight)  # nobody knows which node
    remember(cache, "c" * 64, "engine", NoBuilder("no GPU").at(["node"]), tight)
    assert [e.key[0] for e in cache.ls()] == ["a"]
    cache.failed_path("a" * 64).write_text("{")
    assert [e.name for e in cache.ls()] == ["(failed, damaged)"]
    assert recall(cache, "a" * 64, tight) is None
    assert cache.ls() == []


def test_strict_names_the_culprit() -> None:
    with pytest.raises(EngineBuildFailed, match=r"SIGABRT[\s\S]*where: bad_0"):
        optimise(model(tf.nn.softsign), strict=True)


def test_beginnings_are_graphs_of_their_own() -> None:
    whole = dense()
    sizes = [len(beginning(whole, n).outputs) for n in range(len(whole) + 1)]
    assert sizes[-1] == 1
    assert [n.name for n in beginning(whole, len(whole))] == [n.name for n in whole]
    assert [v.name for v in beginning(whole, 3).inputs] == ["x"]


@pytest.mark.parametrize("place", range(3))
def test_the_search_takes_the_logarithm_of_the_layers(place: int) -> None:
    """A build that fails from some layer on: the search ends at that layer, wherever it is."""
    whole = dense()
    layers = [n for n in whole if n.op != "trt.constant"]
    error = BuilderDied("g", "signal", "SIGSEGV")

    def probe(part: Any, options: BuildOptions) -> None:
        if len([n for n in part if n.op != "trt.constant"]) > place:
            raise BuilderDied("g", "signal", "SIGSEGV")

    found = locate(whole, BuildOptions(), error, probe)
    assert found.where == layers[place].origin
    assert found.builds <= 3
