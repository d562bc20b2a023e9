"""What a frozen graph is made of: counts of op types and the attributes that matter to a converter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf

from zoo.frozen import FrozenModel

_HIDDEN = frozenset(
    {
        "_output_shapes",
        "_gradient_op_type",
        "explicit_paddings",
        "value",
        "shape",
        "f",
        "config",
        "config_proto",
        "executor_type",
    }
)
_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
_SOURCE_OPS = frozenset({"Const", "Placeholder"})


def _dtype(value: Any) -> str:
    return str(tf.dtypes.as_dtype(value.type).name)


def _list(value: Any) -> str:
    if value.list.type:
        return "[" + ",".join(tf.dtypes.as_dtype(item).name for item in value.list.type) + "]"
    return str([*value.list.i, *value.list.f, *(item.decode() for item in value.list.s)])


_RENDER: Mapping[str, Callable[[Any], str]] = MappingProxyType(
    {
        "type": _dtype,
        "i": lambda value: str(value.i),
        "f": lambda value: f"{value.f:g}",
        "b": lambda value: str(value.b),
        "s": lambda value: value.s.decode(errors="replace"),
        "list": _list,
    }
)


def attributes(node: Any) -> str:
    """A node's attributes as `name=value` text; shapes, values and masks that are zero are left out."""
    shown = []
    for key, value in sorted(node.attr.items()):
        render = _RENDER.get(value.WhichOneof("value"))
        if render and key not in _HIDDEN and not (key in _MASKS and value.i == 0):
            shown.append(f"{key}={render(value)}")
    explicit = list(node.attr["explicit_paddings"].list.i) if "explicit_paddings" in node.attr else []
    return ", ".join([*shown, *([f"explicit_paddings={explicit}"] if explicit else [])])


def _constants(graph_def: Any) -> dict[str, str]:
    """Constant's name -> its value as text where it has at most eight integers, else its shape."""
    found = {}
    for node in graph_def.node:
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            size = int(np.prod([dim.size for dim in tensor.tensor_shape.dim]))
            integral = tf.dtypes.as_dtype(tensor.dtype).is_integer and size <= 8
            found[node.name] = (
                str(tf.make_ndarray(tensor).tolist()) if integral else f"const rank {len(tensor.tensor_shape.dim)}"
            )
    return found


def _through_identity(name: str, nodes: Mapping[str, Any]) -> str:
    while name in nodes and nodes[name].op == "Identity":
        name = nodes[name].input[0].split(":")[0]
    return name


def operands(graph_def: Any) -> Iterator[tuple[Any, str]]:
    """Each node with its data inputs as text: `?` for a computed tensor, a constant's value or rank otherwise."""
    constants, nodes = _constants(graph_def), {node.name: node for node in graph_def.node}
    for node in graph_def.node:
        sources = (_through_identity(name.split(":")[0], nodes) for name in node.input if not name.startswith("^"))
        yield node, "(" + ", ".join(constants.get(name, "?") for name in sources) + ")"


def combinations(graph_def: Any) -> Counter[tuple[str, str]]:
    """How often each (op type, attributes and operands) occurs; constants and placeholders left out."""
    pairs = ((node, text) for node, text in operands(graph_def) if node.op not in _SOURCE_OPS)
    return Counter((node.op, f"{attributes(node)} {text}".strip()) for node, text in pairs)


def op_counts(graph_def: Any) -> Counter[str]:
    """How many nodes of each op type the main graph has."""
    return Counter(node.op for node in graph_def.node)


def function_counts(graph_def: Any) -> Counter[str]:
    """How many nodes of each op type all library functions together have."""
    return Counter(node.op for function in graph_def.library.function for node in function.node_def)


def text(model: FrozenModel) -> str:
    """A summary for people: node count, op counts, inputs and outputs."""
    counts = op_counts(model.graph_def)
    lines = [f"{model.name}: {sum(counts.values())} nodes, {model.graph_def.ByteSize() / 1e6:.1f} MB"]
    lines += [f"  input  {node.name} {node.dtype} {list(node.shape)} ({model.feed})" for node in model.inputs]
    lines += [f"  output {name}" for name in model.outputs]
    lines.append("  ops    " + ", ".join(f"{op} {count}" for op, count in counts.most_common()))
    inner = function_counts(model.graph_def)
    if inner:
        calls = ", ".join(f"{op} {count}" for op, count in inner.most_common())
        lines.append(f"  {len(model.graph_def.library.function)} functions: {calls}")
    return "\n".join(lines)
