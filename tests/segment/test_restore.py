"""Graphs that hold engines are optimised anew: bodies come back, plans are built for what is asked now."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from engine_op.graphs import behind_engine, cnn
from main_job.jobs import in_session
from main_job.test_bad_input import small_graph

import tfgraphopt as tgo
import tfgraphopt.runtime

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


def optimised(graph_def: tf.compat.v1.GraphDef, batch: int, **options: object) -> tgo.Result:
    return tgo.optimize_graph_def(graph_def, ["y"], tgo.Config(max_batch_size=batch, options=options))


def plans(result: tgo.Result) -> list[bytes]:
    return [n.attr["serialized_segment"].s for n in result.graph_def.node if n.op == "TRTEngineOp"]


def test_an_optimised_graph_is_built_for_another_range() -> None:
    original = small_graph()
    first = optimised(original, 4)
    again = optimised(first.graph_def, 16, rebuild=True)
    fresh = optimised(original, 16)
    assert len(plans(again)) == len(plans(fresh)) == 1
    assert again.report.segments["TRTEngineOp_000_000"].details["profiles"][0][0]["max"] == (16, 8, 8, 3)
    assert again.report.segments["TRTEngineOp_000_000"].ops == fresh.report.segments["TRTEngineOp_000_000"].ops
    assert len(again.graph_def.library.function) == 1
    (got,), (wanted,) = (in_session(g, ["y"], {"x": X}) for g in (again.graph_def, original))
    np.testing.assert_array_equal(got, wanted)


def test_without_the_option_engines_stay_as_they_are() -> None:
    first = optimised(small_graph(), 4)
    again = optimised(first.graph_def, 16)
    assert plans(again) == plans(first)


def test_an_engine_of_tf_trt_is_built_from_its_native_segment() -> None:
    old = behind_engine(cnn(), ["x"], ["y"], serialized_segment=b"\0ftrt, by a TensorRT that is gone")
    result = optimised(old, 4, rebuild=True)
    (segment,) = result.report.segments.values()
    assert (segment.status, segment.ops["Conv2D"]) == ("built", 4)
    x = np.random.default_rng(1).normal(size=(3, 16, 16, 3)).astype(np.float32)
    (got,), (wanted,) = (in_session(g, ["y"], {"x": x}) for g in (result.graph_def, old))
    np.testing.assert_array_equal(got, wanted)


def test_an_engine_without_a_body_is_kept_and_told() -> None:
    first = optimised(small_graph(), 4)
    node = next(n for n in first.graph_def.node if n.op == "TRTEngineOp")
    node.attr["segment_func"].func.name = ""
    del first.graph_def.library.function[:]
    again = optimised(first.graph_def, 16, rebuild=True)
    assert plans(again) == plans(first)
    assert any("has no TensorFlow body" in m for m in again.report.messages)
