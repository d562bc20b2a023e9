"""Runs a ``trt`` graph in TensorFlow: what its layers mean, on any device and with no TensorRT."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import Body, Graph, Node, Value, nodes_within
from tfgraphopt.ir.tensor import Array
from tfgraphopt_trt.layerdef import LayerDef, LayerError


def evaluate(graph: Graph, layers: Mapping[str, LayerDef], feeds: Sequence[Array]) -> list[Array]:
    """The outputs of ``graph`` for ``feeds`` (one array per formal input, in order), computed layer by layer.

    Tensors are dropped as soon as nothing needs them any more.

    Raises:
        LayerError: the number, type or shape of the feeds is not what the graph takes, or a layer is unknown.
    """
    import tensorflow as tf

    tensors = [tf.constant(np.asarray(a), dtype=v.dtype.tf_name) for v, a in zip(graph.inputs, feeds, strict=True)]
    return [t.numpy() for t in as_function(graph, layers)(*tensors)]


def as_function(graph: Graph, layers: Mapping[str, LayerDef]) -> Callable[..., list[Any]]:
    """A function of TensorFlow tensors that computes ``graph``; trace it with tf.function to compile or export it.

    Raises:
        LayerError: the graph has a layer that ``layers`` do not.
    """
    unknown = sorted({node.op for node in nodes_within(graph)} - set(layers))
    if unknown:
        raise LayerError(f"graph {graph.name!r} has layers that are not defined: {', '.join(unknown)}")

    def function(*inputs: Any) -> list[Any]:
        return _Run(graph, layers).outputs(inputs)

    return function


class _Run:
    """One evaluation: the tensors computed so far and how often each is still read."""

    def __init__(self, graph: Graph, layers: Mapping[str, LayerDef]) -> None:
        self.graph = graph
        self.layers = layers
        self.tensors: dict[Value, Any] = {}
        self.readers = collections.Counter(v for node in graph for v in node.inputs)
        self.readers.update(graph.outputs)

    def outputs(self, inputs: Sequence[Any]) -> list[Any]:
        import tensorflow as tf

        for value, tensor in zip(self.graph.inputs, inputs, strict=True):
            _check(value, tensor)
            self.tensors[value] = tensor
        for node in self.graph:
            with tf.name_scope(scope_of(node.name)):
                self._compute(tf, node)
        return [self.tensors[v] for v in self.graph.outputs]

    def _compute(self, tf: Any, node: Node) -> None:
        results = results_of(tf, node, [self.tensors[v] for v in node.inputs], self.layers)
        self.tensors.update((v, t) for v, t in zip(node.outputs, results, strict=True) if self.readers[v])
        for value in node.inputs:
            self.readers[value] -= 1
            if not self.readers[value]:
                self.tensors.pop(value, None)


class BodyFunction:
    """A body as the meaning of its layer gets it: a function of TensorFlow tensors that returns a list of them."""

    def __init__(self, graph: Graph, layers: Mapping[str, LayerDef]) -> None:
        self.graph = graph
        self._layers = layers

    def __call__(self, *inputs: Any) -> list[Any]:
        return _Run(self.graph, self._layers).outputs(inputs)


def results_of(tf: Any, node: Node, operands: Sequence[Any], layers: Mapping[str, LayerDef]) -> Sequence[Any]:
    """What ``node`` computes of the tensors ``operands``; the bodies that it owns are computed by ``layers`` too."""
    attrs = {k: BodyFunction(v.graph, layers) if isinstance(v, Body) else v for k, v in node.attrs.items()}
    return layers[node.op].meaning(tf, operands, attrs)  # type: ignore[arg-type]


def _check(value: Value, tensor: Any) -> None:
    """A tensor that the graph was not made for would compute something else without a word."""
    fits = tensor.dtype.name == value.dtype.tf_name and tensor.shape.is_compatible_with(value.shape.dims)
    if not fits:
        raise LayerError(f"input %{value.name} takes {value.type}, not {tensor.dtype.name}{tensor.shape}")


def scope_of(name: str) -> str:
    """The name scope that the TensorFlow ops of the layer ``name`` are traced in."""
    return re.sub(r"[^A-Za-z0-9_.\-/]", "_", re.sub(r"^[^A-Za-z0-9.]", "x", name))
