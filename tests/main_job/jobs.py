"""Running the main job in tests: graphs in sessions and functions, lowered bodies by their meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import tfgraphopt as tgo
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate

Array = npt.NDArray[Any]


def in_session(
    graph_def: Any, outputs: Sequence[str], feeds: Mapping[str, Array], *, rewriting: bool = True
) -> list[Array]:
    """The outputs that a TF1 session computes; ``rewriting`` lets Grappler optimise, as it does by default."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not rewriting
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=config) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return list(session.run([_tensor(o) for o in outputs], {_tensor(k): v for k, v in feeds.items()}))


def in_function(graph_def: Any, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs that a wrapped TF2 function computes."""

    def imported(*arguments: Any) -> Any:
        mapping = {_tensor(k): a for k, a in zip(feeds, arguments, strict=True)}
        return tf.graph_util.import_graph_def(graph_def, mapping, [_tensor(o) for o in outputs], name="")

    function = tf.compat.v1.wrap_function(imported, [tf.TensorSpec(v.shape, v.dtype) for v in feeds.values()])
    return [t.numpy() for t in function(*(tf.constant(v) for v in feeds.values()))]


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def lowered_errors(result: tgo.Result, graph_def: Any, feeds: Mapping[str, Array]) -> dict[str, float]:
    """Per segment of the main graph, the largest error of its lowered body's meaning, relative to the magnitude of each output.

    The operands and the expected results of the segment are what TensorFlow computes with the original graph.
    """
    layers = layer_map(result.tables.items("tfgraphopt_trt_layers"))
    errors = {}
    for name, body in result.module.lowered.items():
        call = result.module.main.find(name)
        if call is None:
            continue
        sources = [_source(v) for v in call.inputs]
        fallback = result.module.functions[call.attrs["segment_func"].name]  # type: ignore[union-attr]
        wanted = [_source(v) for v in fallback.outputs]
        # no Grappler: it takes most of a minute over the half gigabyte of VGG16
        computed = in_session(graph_def, [*sources, *wanted], feeds, rewriting=False)
        operands, expected = computed[: len(sources)], computed[len(sources) :]
        made = evaluate(body, layers, operands)
        errors[name] = max(_relative(a, b) for a, b in zip(made, expected, strict=True))
    return errors


def _source(value: Any) -> str:
    """Where the value comes from in the original graph."""
    return f"{value.producer.name}:{value.index}"


def _relative(made: Array, expected: Array) -> float:
    assert made.shape == expected.shape
    assert made.dtype == expected.dtype
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(made, expected) else float("inf")
    return float(np.abs(made - expected).max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-30))
