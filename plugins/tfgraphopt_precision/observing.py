"""Runs a lowered body by its meaning and shows every tensor; and the meaning as hardware computes it in low precision."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.ir import Attrs, Graph, Node, Value
from tfgraphopt.ir.tensor import Array
from tfgraphopt_precision.slots import CAST, CONSTANT
from tfgraphopt_trt.layerdef import LayerDef, Meaning
from tfgraphopt_trt.meaning import results_of

_EXACT = frozenset({CAST, CONSTANT})
"""Layers whose meaning says itself what type it makes."""


def observe(graph: Graph, layers: Mapping[str, LayerDef], feeds: Sequence[Array]) -> Iterator[tuple[Value, Any]]:
    """Every value of ``graph`` with its TensorFlow tensor for ``feeds``, inputs first; tensors are dropped when done with."""
    import tensorflow as tf

    readers = collections.Counter(v for node in graph for v in node.inputs)
    tensors: dict[Value, Any] = {}
    for value, array in zip(graph.inputs, feeds, strict=True):
        tensors[value] = tf.constant(np.asarray(array), dtype=value.dtype.tf_name)
        yield value, tensors[value]
    for node in graph:
        for value, tensor in zip(node.outputs, compute(tf, node, layers, tensors), strict=True):
            tensors[value] = tensor
            yield value, tensor
        _drop(tensors, readers, node)


def compute(tf: Any, node: Node, layers: Mapping[str, LayerDef], tensors: Mapping[Value, Any]) -> Sequence[Any]:
    """The results of one layer for operands in ``tensors``."""
    return results_of(tf, node, [tensors[v] for v in node.inputs], layers)


def _drop(tensors: dict[Value, Any], readers: collections.Counter[Value], node: Node) -> None:
    for value in node.inputs:
        readers[value] -= 1
        if not readers[value]:
            del tensors[value]


def as_hardware(layers: Mapping[str, LayerDef]) -> dict[str, LayerDef]:
    """``layers`` whose meaning in float16 and bfloat16 is what tensor cores compute.

    Operands and results are rounded to the low type; inside a layer, sums are kept in float32. (TensorFlow's own CPU kernels
    would also add up in the low type, which no GPU does, and be many times slower.)
    """
    return {
        op: layer if op in _EXACT else attrs.evolve(layer, meaning=_rounding(layer.meaning))
        for op, layer in layers.items()
    }


def _rounding(meaning: Meaning) -> Meaning:
    def rounded(tf: Any, inputs: Sequence[Any], attributes: Attrs) -> Sequence[Any]:
        low = [t.dtype for t in inputs if t.dtype in (tf.float16, tf.bfloat16)]
        if not low:
            return meaning(tf, inputs, attributes)
        wide = [tf.cast(t, tf.float32) if t.dtype in low else t for t in inputs]
        return [tf.cast(t, low[0]) if t.dtype == tf.float32 else t for t in meaning(tf, wide, attributes)]

    return rounded
