"""Small models with control flow, frozen with While and If kept as they are, and what is asked of their optimised graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow as tf
from main_job.jobs import in_session
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.ir import Graph
from tfgraphopt.plugins import load
from tfgraphopt.report import SegmentReport, Verdict
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate

Array = np.ndarray[Any, Any]
IDLE = frozenset({"Const", "Placeholder", "Identity", "IdentityN", "NoOp"})
"""Ops that do no work and may stand beside engines."""


@attrs.frozen
class Model:
    """A frozen graph, the tensors it returns, and the shapes its inputs may have (None: the batch alone is unknown)."""

    graph_def: Any = attrs.field(repr=False)
    outputs: tuple[str, ...]
    shapes: Mapping[str, tgo.ShapeRange] = attrs.field(factory=dict)

    def optimised(self, engine: str = "tensorrt", **options: Any) -> tgo.Result:
        """The optimised graph; at most eight in a batch."""
        config = tgo.Config(engine=engine, max_batch_size=8, input_shapes=self.shapes, **options)
        return tgo.optimize_graph_def(self.graph_def, self.outputs, config, tables=load(strict=True))

    def run(self, graph_def: Any, feeds: Mapping[str, Array]) -> list[Array]:
        """What a session computes, without Grappler."""
        return in_session(graph_def, self.outputs, feeds, rewriting=False)


def frozen(
    function: Callable[..., Any], *specs: tf.TensorSpec, shapes: Mapping[str, tgo.ShapeRange] | None = None
) -> Model:
    """``function`` of named tensors as a frozen graph that keeps its functional control flow."""
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    made = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return Model(made.graph.as_graph_def(), tuple(t.name for t in made.outputs), shapes or {})


def traced(function: Callable[..., Any], *specs: tf.TensorSpec) -> Model:
    """``function`` of named tensors, which has no variables, as TensorFlow traces it."""
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    return Model(concrete.graph.as_graph_def(), tuple(t.name for t in concrete.outputs))


def spec(name: str, *dims: int | None, dtype: Any = tf.float32) -> tf.TensorSpec:
    """A named input."""
    return tf.TensorSpec(dims, dtype, name)


def left(result: tgo.Result) -> list[Verdict]:
    """The working nodes that no engine runs."""
    return [
        v
        for v in result.report.verdicts.values()
        if v.status not in ("converted", "simplified") and v.op not in IDLE and not v.reason.startswith("a constant")
    ]


def only_segment(result: tgo.Result) -> SegmentReport:
    """The one segment of a graph that is converted whole."""
    assert {v.node: v.reason for v in left(result)} == {}
    (segment,) = result.report.segments.values()
    return segment


def check(model: Model, feeds: Sequence[Mapping[str, Array]], *, tolerance: float = 1e-5) -> SegmentReport:
    """One segment, built by TensorRT, right in its meaning, with the original's bits in its fallback; the segment."""
    result = model.optimised()
    segment = only_segment(result)
    assert segment.status == "built", segment.reason
    compare(model, result, feeds, tolerance)
    return segment


def compare(model: Model, result: tgo.Result, feeds: Sequence[Mapping[str, Array]], tolerance: float = 1e-5) -> None:
    """The lowered bodies mean what TensorFlow computes, and the optimised graph computes the original's bits."""
    for feed in feeds:
        for name, body in result.module.lowered.items():
            _compare_segment(result, name, body, feed, tolerance)
        for got, wanted in zip(model.run(result.graph_def, feed), model.run(model.graph_def, feed), strict=True):
            np.testing.assert_array_equal(got, wanted)


def _compare_segment(result: tgo.Result, name: str, body: Graph, feed: Mapping[str, Array], tolerance: float) -> None:
    """The meaning of a segment of the main graph against its TensorFlow body, which runs where there is no GPU."""
    call = result.module.main.find(name)
    if call is None or not call.outputs:
        return
    wanted = [f"{name}:{v.index}" for v in call.outputs]
    found = in_session(result.graph_def, [*(_fetch(v) for v in call.inputs), *wanted], feed, rewriting=False)
    operands, expected = found[: len(call.inputs)], found[len(call.inputs) :]
    made = evaluate(body, layer_map(result.tables.items("tfgraphopt_trt_layers")), operands)
    for got, want in zip(made, expected, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def _fetch(value: Any) -> str:
    return f"{value.producer.name}:{value.index}"
