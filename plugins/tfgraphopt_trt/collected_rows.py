"""Tensors whose rows were collected one by one: as many as the batch has, though no shape function says so.

``tf.map_fn`` over encoded images stacks what its loop made; text layers bring ragged rows to one length. TensorFlow infers no size for
the first axis of what comes out. TF-TRT took the first axis of whatever an engine reads for the batch; here it is only where rows were
collected, never where data decide how many there are (boxes that were kept, elements that are not zero).
"""

from __future__ import annotations

from collections.abc import Callable

from tfgraphopt.ir import FuncRef, Node, Shape, Value

COLLECTING = frozenset({"RaggedTensorToTensor", "TensorListStack", "TensorArrayGatherV3"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def lacks_rows_only(shape: Shape) -> bool:
    """Whether all of a shape is known but the size of the first axis."""
    return shape.dims is not None and shape.dims[:1] == (None,) and None not in shape.dims[1:]


def collector_of(value: Value, is_open: Callable[[Value], bool]) -> str:
    """The node that collected the rows of ``value``; empty when they are from anywhere else.

    Args:
        value: of unknown size along its first axis.
        is_open: whether the first axis of a value has a size that nobody knows.
    """
    found, waiting, seen = "", [value], {value}
    while waiting:
        node = _maker(waiting.pop())
        if node is None:
            return ""
        if node.op in COLLECTING:
            found = found or node.name
            continue
        sources = [v for v in node.inputs if is_open(v)]
        if not sources:  # here the size is lost, and data may decide it
            return ""
        waiting += [v for v in dict.fromkeys(sources) if v not in seen]
        seen.update(sources)
    return found


def _maker(value: Value) -> Node | None:
    """The node that made a value, in the function that made it where a call hands it on (a loop and its lists are one such)."""
    node = value.producer
    while node is not None and node.op in _CALLS:
        ref = node.attrs.get("f")
        body = node.graph.functions(ref.name) if isinstance(ref, FuncRef) else None
        if body is None or body.outputs[value.index].producer is None:
            return node
        value = body.outputs[value.index]
        node = value.producer
    return node
