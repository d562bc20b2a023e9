"""fold-constants: compute at once what depends on constants only, by TensorFlow's own kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import attrs
import numpy as np

from tfgraphopt.graphdef import evaluate
from tfgraphopt.ir import DType, FuncRef, Graph, Node, Tensor, Value, constant_of
from tfgraphopt.ir.tensor import Array
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.infer_types import TYPES

_NEVER = frozenset(
    {"Switch", "Merge", "Enter", "Exit", "LoopCond", "NextIteration", "Placeholder", "PlaceholderWithDefault"}
)
_QUANTISING = frozenset(
    {
        "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "QuantizeAndDequantize",
        "QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4",
    }
)  # fmt: skip
"""Ops that say in which precision their readers shall compute, of constants too: folded, that would be lost."""
_SHAPE_OPS = frozenset({"Shape", "Size", "Rank"})
_AT_ONCE = 256 << 20
_CONVERTED = frozenset({DType.FLOAT, DType.HALF, DType.BFLOAT16})
"""Between these, numpy rounds as TensorFlow does."""


@attrs.frozen(slots=True)
class FoldConstants(Pass):
    """Replace pure nodes whose inputs are all constant by their value, and shapes that are known by numbers.

    A result above ``max_bytes`` that is larger than its inputs together stays unfolded (a Fill of a scalar, a big Tile).
    """

    name: ClassVar[str] = "fold-constants"
    after: ClassVar[tuple[str, ...]] = ("remove-identity",)
    needs: ClassVar[frozenset[str]] = frozenset({TYPES})
    max_bytes: int = 10 << 20

    def run(self, graph: Graph, ctx: Context) -> None:
        for node in graph:
            known = _known_shape(node) if any(v.uses or v.is_output for v in node.outputs) else None
            if known is not None:
                _replace(graph, node.outputs[0], known)
        for node in graph:
            view = _view(node)
            if view is not None:
                _replace(graph, node.outputs[0], view)
        for part in _parts(self._frontier(graph)):
            for value, array in zip(part, evaluate(graph, part), strict=True):
                _replace(graph, value, Tensor.of(array, value.dtype))

    def _frontier(self, graph: Graph) -> list[Value]:
        """Foldable values that something not foldable reads."""
        constant: set[Node] = set()
        for node in graph:
            if (node.op == "Const" and not node.control) or self._foldable(node, constant):
                constant.add(node)
        found = []
        for node in graph:
            if node in constant and node.op != "Const":
                found += [v for v in node.outputs if v.is_output or any(u not in constant for u in v.users)]
        return found

    def _foldable(self, node: Node, constant: set[Node]) -> bool:
        definition = node.definition
        if (
            definition is None
            or definition.stateful
            or node.op in _NEVER | _QUANTISING
            or node.control
            or not node.inputs
        ):
            return False
        if any(isinstance(v, FuncRef) for v in node.attrs.values()) or not all(v.dtype.has_numpy for v in node.outputs):
            return False
        if any(v.dtype is DType.STRING for v in [*node.inputs, *node.outputs]):
            return False
        return all(v.producer in constant for v in node.inputs) and self._small(node)

    def _small(self, node: Node) -> bool:
        sizes = [v.type.num_bytes for v in node.outputs]
        if any(s is None for s in sizes):
            return True
        made = sum(s for s in sizes if s is not None)
        return made <= max(self.max_bytes, sum(v.type.num_bytes or 0 for v in node.inputs))


def _parts(values: list[Value]) -> Iterator[list[Value]]:
    """The values in groups that TensorFlow computes at once: what it computes, it copies a few times, and a graph ends at 2 GB."""
    part: list[Value] = []
    size = 0
    for value in values:
        part.append(value)
        assert value.producer is not None
        size += (value.type.num_bytes or 0) + sum(v.type.num_bytes or 0 for v in value.producer.inputs)
        if size > _AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part


def _view(node: Node) -> Tensor | None:
    """A constant that is another with its elements as they are, or converted: nothing is computed, and weights are not copied."""
    if node.op not in _VIEWS or node.control or (not node.outputs[0].uses and not node.outputs[0].is_output):
        return None
    base, result = constant_of(node.inputs[0]), node.outputs[0]
    operands = [constant_of(v) for v in node.inputs[1:]]
    if base is None or not base.dtype.has_numpy or not result.shape.is_static or any(o is None for o in operands):
        return None
    if node.op == "Cast" and not {base.dtype, result.dtype} <= _CONVERTED:
        return None
    view = _VIEWS[node.op](base, result, [o for o in operands if o is not None])
    return view if view.type == result.type else None


_VIEWS: dict[str, Callable[[Tensor, Value, Sequence[Tensor]], Tensor]] = {
    **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze"), lambda base, result, _: base.reshape(result.shape.static())),
    "Transpose": lambda base, _, operands: base.transpose(
        [int(p) % max(base.shape.rank or 0, 1) for p in operands[0].numpy()]
    ),
    "Cast": lambda base, result, _: base.astype(result.dtype),
}


def _known_shape(node: Node) -> Tensor | None:
    """The value of a Shape, Size or Rank, or of a part of a Shape, whose dimensions are known."""
    if node.control or not node.inputs:
        return None
    if node.op in _SHAPE_OPS:
        return _shape_fact(node)
    if node.op in ("StridedSlice", "GatherV2"):
        return _part_of_shape(node)
    return None


def _shape_fact(node: Node) -> Tensor | None:
    shape = node.inputs[0].shape
    dtype = node.outputs[0].dtype
    if node.op == "Rank":
        return None if shape.rank is None else Tensor.of(shape.rank, dtype)
    if not shape.is_static:
        return None
    return Tensor.of(shape.num_elements if node.op == "Size" else shape.static(), dtype)


def _part_of_shape(node: Node) -> Tensor | None:
    producer = node.inputs[0].producer
    if producer is None or producer.op != "Shape" or producer.inputs[0].shape.rank is None:
        return None
    dims = producer.inputs[0].shape.known()
    indices = np.arange(len(dims))
    operands = [constant_of(v) for v in node.inputs[1:]]
    if any(o is None for o in operands):
        return None
    picked = _PART[node.op](node, indices, [o.numpy() for o in operands if o is not None])
    if picked is None:
        return None
    chosen = [dims[i] for i in np.atleast_1d(picked).tolist()]
    if any(d is None for d in chosen):
        return None
    return Tensor.of(np.asarray(chosen).reshape(np.shape(picked)), node.outputs[0].dtype)


def _strided(node: Node, indices: Array, operands: Sequence[Array]) -> Array | None:
    begin, end, stride = (int(o[0]) for o in operands) if all(o.shape == (1,) for o in operands) else (0, 0, 0)
    if stride == 0 or node.attrs["new_axis_mask"] or node.attrs["ellipsis_mask"]:
        return None
    if node.attrs["shrink_axis_mask"]:
        return np.asarray(indices[begin])
    return indices[slice(None if node.attrs["begin_mask"] else begin, None if node.attrs["end_mask"] else end, stride)]


def _gathered(node: Node, indices: Array, operands: Sequence[Array]) -> Array | None:
    return np.asarray(indices[operands[0]]) if node.attrs["batch_dims"] == 0 else None


_PART = {"StridedSlice": _strided, "GatherV2": _gathered}


def _replace(graph: Graph, value: Value, tensor: Tensor) -> None:
    node = value.producer
    assert node is not None
    const = graph.add(
        "Const", [], {"value": tensor, "dtype": tensor.dtype}, name=f"{node.name}/folded", before=node, device=node.device,
        origin=node.origin, types=[tensor.type],
    )  # fmt: skip
    value.replace_uses(const.outputs[0])
