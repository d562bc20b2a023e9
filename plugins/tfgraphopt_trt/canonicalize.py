"""trt-canonicalize: make lowered bodies small: fold constants, fold scales and paddings into weights, merge what is equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Body, Graph, Node, Tensor, Value, bodies_of, constant_of
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import copy_graph
from tfgraphopt.transforms.canonicalize import apply_hosted
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import LOWERED
from tfgraphopt_trt.shape_values import known_values
from tfgraphopt_trt.simplify.steps import HOST
from tfgraphopt_trt.support import LAYERS_HOOK

CONSTANT = "trt.constant"
DEQUANTIZE = "trt.dequantize"
"""Never folded: it tells TensorRT that the constant in front of it is to be used as integers."""
MOST_ROUNDS = 16


@attrs.frozen(slots=True)
class CanonicalizeLayers(Pass):
    """Simplify lowered bodies. Results may differ in the last bits: folded weights are rounded once, in double precision before.

    Layers of constants are computed when their results are not larger than ``max_bytes``; equal constants are merged up to
    ``max_shared_bytes`` (larger ones would have to be read and compared).
    """

    name: ClassVar[str] = HOST
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("lower", "layout")
    before: ClassVar[tuple[str, ...]] = ("precision", "int8", "build-engines")
    dialect: ClassVar[str | None] = "trt"
    max_bytes: int = 1 << 26
    max_shared_bytes: int = 1 << 16
    skip: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def run(self, graph: Graph, ctx: Context) -> None:
        layers = {layer.op: layer for layer in ctx.tables.items(LAYERS_HOOK)}
        self._simplify(graph, ctx, layers)

    def _simplify(self, graph: Graph, ctx: Context, layers: Mapping[str, LayerDef]) -> None:
        for node in graph:
            for name, value in node.attrs.items():
                if isinstance(value, Body):
                    body = copy_graph(value.graph)
                    self._simplify(body, ctx, layers)
                    node.set_attr(name, Body(body))
        fold_constants(graph, layers, self.max_bytes)
        until_stable(graph, lambda: apply_hosted(self.name, graph, ctx, self.skip))
        fold_constants(graph, layers, self.max_bytes)
        merge_equal(graph, self.max_shared_bytes)
        erase_dead(graph, keep_placeholders=False)


def until_stable(graph: Graph, apply: Callable[[], object]) -> None:
    """Apply rules, remove what they left unread, and again: a reader fewer may let another rule fire."""
    for _ in range(MOST_ROUNDS):
        apply()
        size = len(graph)
        erase_dead(graph, keep_placeholders=False)
        if len(graph) == size:
            return


# -- constants -------------------------------------------------------------------------------------------------------


def fold_constants(graph: Graph, layers: Mapping[str, LayerDef], max_bytes: int = 1 << 26) -> None:
    """Compute the layers that read constants only, and shape tensors all of whose numbers are known."""
    for node in graph:
        if node.op in (CONSTANT, DEQUANTIZE) or not node.inputs or any(bodies_of(node)):
            continue
        tensors = _computed(node, layers, max_bytes)
        if tensors is not None:
            _replace(graph, node, tensors)


def _computed(node: Node, layers: Mapping[str, LayerDef], max_bytes: int) -> list[Tensor] | None:
    """The results of ``node`` when they are known."""
    operands = [constant_of(v) for v in node.inputs]
    known = [t for t in operands if t is not None]
    if len(known) < len(operands):
        return _known_numbers(node)
    if node.op in _VIEWS and all(v.shape.is_static for v in node.outputs):
        return [_VIEWS[node.op](node, known[0])]
    sizes = [v.type.num_bytes for v in node.outputs]
    if node.op not in layers or any(s is None or s > max_bytes for s in sizes):
        return None
    return _evaluated(node, known, layers[node.op])


def _known_numbers(node: Node) -> list[Tensor] | None:
    if len(node.outputs) != 1 or not node.output.dtype.is_integer:
        return None
    numbers = known_values(node.output)
    if not numbers or any(n is None for n in numbers):
        return None
    shape = node.output.shape.static()
    return [Tensor.of(np.array(numbers, node.output.dtype.np).reshape(shape), node.output.dtype)]


def _transposed(node: Node, tensor: Tensor) -> Tensor:
    perm = node.attrs["perm"]
    assert isinstance(perm, tuple)
    return tensor.transpose(perm)


def _reshaped(node: Node, tensor: Tensor) -> Tensor:
    return tensor.reshape(node.output.shape.static())


def _handed_on(node: Node, tensor: Tensor) -> Tensor:
    return tensor


_VIEWS = {
    "trt.transpose": _transposed, "trt.reshape": _reshaped, "trt.squeeze": _reshaped, "trt.unsqueeze": _reshaped,
    "trt.identity": _handed_on,
}  # fmt: skip


def _evaluated(node: Node, operands: list[Tensor], layer: LayerDef) -> list[Tensor] | None:
    import tensorflow as tf

    with tf.device("/CPU:0"):
        inputs = [tf.constant(t.numpy(), dtype=t.dtype.tf_name) for t in operands]
        arrays = [r.numpy() for r in layer.meaning(tf, inputs, node.attrs)]
    return [Tensor.of(a, v.dtype) for a, v in zip(arrays, node.outputs, strict=True)]


def _replace(graph: Graph, node: Node, tensors: list[Tensor]) -> None:
    """Constants in place of the results of ``node``; TensorRT has no empty ones, so those stay computed."""
    if any(t.num_elements == 0 for t in tensors):
        return
    for value, tensor in zip(node.outputs, tensors, strict=True):
        if value.uses or value.is_output:
            made = graph.add(
                CONSTANT, [], {"value": tensor}, name=f"{node.name}/value", before=node, origin=node.origin
            )
            value.replace_uses(made.output)
    graph.erase(node)


# -- equal layers ----------------------------------------------------------------------------------------------------


def merge_equal(graph: Graph, max_bytes: int = 1 << 16) -> None:
    """Let equal layers of equal operands, and equal small constants, be one."""
    seen: dict[object, Node] = {}
    for node in graph:
        if not node.outputs or (node.op == CONSTANT and (node.output.type.num_bytes or 0) > max_bytes):
            continue
        first = seen.setdefault(_key(node), node)
        if first is not node:
            for mine, theirs in zip(node.outputs, first.outputs, strict=True):
                mine.replace_uses(theirs)
            graph.erase(node)


def _key(node: Node) -> object:
    attributes = frozenset((k, v, type(v)) for k, v in node.attrs.items())
    return node.op, tuple(_number(v) for v in node.inputs), attributes


def _number(value: Value) -> int:
    return id(value)
