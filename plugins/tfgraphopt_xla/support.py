"""What XLA cannot take, told per node before segments are formed."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.ir import Node, Tensor, Value, constant_of
from tfgraphopt.plugins import Tables
from tfgraphopt_trt.hookspecs import LayerRule, SegmentRule
from tfgraphopt_trt.meaning import results_of
from tfgraphopt_trt.support import LAYERS_HOOK
from tfgraphopt_xla.kind import NAME

DEVICES = ("XLA_CPU_JIT", "XLA_GPU_JIT")
_SIZED_BY_DATA = frozenset({"trt.non_zero", "trt.nms"})


# -- kernels ---------------------------------------------------------------------------------------------------------


@cache
def compilable(op: str) -> tuple[Mapping[str, frozenset[int]], ...]:
    """XLA's kernels for a TensorFlow op: for each, the element types (by number) that it takes, by type attribute.

    They are the same on every machine. TensorFlow registers them when it first lowers a function to XLA, which this does. A fact of
    the installed TensorFlow, so it is asked for once in a process.
    """
    _register()
    kernels: Any = importlib.import_module("tensorflow.python.framework.kernels")
    found = kernels.get_registered_kernels_for_op(op).kernel
    return tuple(
        {c.name: frozenset(c.allowed_values.list.type) for c in kernel.constraint}
        for kernel in found
        if kernel.device_type in DEVICES
    )


@cache
def _register() -> None:
    import tensorflow as tf

    with tf.init_scope():
        one = tf.function(lambda x: x + 1.0, jit_compile=True, autograph=False)
        one.experimental_get_compiler_ir(tf.TensorSpec([], tf.float32))(stage="hlo")


def missing_kernel(operation: Any) -> str | None:
    """Why XLA has no kernel for a ``tf.Operation``; None when it has one."""
    kernels = compilable(operation.type)
    if not kernels:
        return f"XLA cannot compile TensorFlow's {operation.type}"
    types = {a: operation.get_attr(a).as_datatype_enum for a in _type_attrs(operation)}
    if any(all(types[a] in allowed for a, allowed in kernel.items() if a in types) for kernel in kernels):
        return None
    shown = ", ".join(f"{name} {operation.get_attr(name).name}" for name in types)
    return f"XLA cannot compile TensorFlow's {operation.type} for {shown}"


def _type_attrs(operation: Any) -> Iterator[str]:
    return (a.name for a in operation.op_def.attr if a.type == "type")


# -- layers ----------------------------------------------------------------------------------------------------------


@attrs.define(slots=True)
class LayerJudge:
    """Says which layers XLA has no kernels for; layers that differ in their names and weights only are judged once."""

    _reasons: dict[object, str | None] = attrs.field(factory=dict)

    def check(self, layer: Node, config: Config, tables: Tables) -> str | None:
        """Why XLA cannot compile what ``layer`` means; None when it can, or when the engine is another."""
        if config.engine != NAME:
            return None
        key = _kind_of(layer, tables)
        if key not in self._reasons:
            self._reasons[key] = _uncompilable(layer, tables)
        return self._reasons[key]


def _kind_of(layer: Node, tables: Tables) -> object:
    attributes = frozenset((k, v, type(v)) for k, v in layer.attrs.items() if not isinstance(v, Tensor))
    operands = tuple((v.type, constant_of(v) is None) for v in layer.inputs)
    return id(tables), layer.op, attributes, operands


def _uncompilable(layer: Node, tables: Tables) -> str | None:
    """Every op that the layer means needs a kernel of XLA."""
    if layer.op in _SIZED_BY_DATA:
        return "the size of its result depends on data; XLA needs to know it when it compiles"
    found = (missing_kernel(o) for o in _operations(layer, tables) if o.type not in ("Placeholder", "NoOp"))
    return next((reason for reason in found if reason), None)


def _operations(layer: Node, tables: Tables) -> list[Any]:
    """The TensorFlow ops that ``layer`` means."""
    import tensorflow as tf

    layers = tables.table(LAYERS_HOOK)
    if layer.op not in layers:
        return []
    graph = tf.Graph()
    with graph.as_default():
        results_of(tf, layer, [_operand(tf, v) for v in layer.inputs], layers)
    operations = list(graph.get_operations())
    return operations + [o for f in graph._functions.values() for o in getattr(f, "graph", graph).get_operations()]


def _operand(tf: Any, value: Value) -> Any:
    tensor = constant_of(value)
    if tensor is not None and not value.dtype.is_floating:
        return tf.constant(tensor.numpy(), value.dtype.tf_name)
    return tf.compat.v1.placeholder(value.dtype.tf_name, value.shape.dims)


# -- numbers that XLA must know when it compiles ---------------------------------------------------------------------

_KNOWN_EARLY: Mapping[str, tuple[str, ...]] = {
    "Reshape": ("shape",), "Fill": ("dims",), "BroadcastTo": ("shape",), "Tile": ("multiples",), "OneHot": ("depth",),
    "TopKV2": ("k",), "Range": ("start", "limit", "delta"), "Slice": ("size",), "Pad": ("paddings",), "PadV2": ("paddings",),
    "MirrorPad": ("paddings",), "ResizeBilinear": ("size",), "ResizeNearestNeighbor": ("size",), "LinSpace": ("num",),
    "Conv2DBackpropInput": ("input_sizes",), "Conv3DBackpropInputV2": ("input_sizes",), "SplitV": ("size_splits",),
    "Transpose": ("perm",),
}  # fmt: skip
_SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank"})


def _decided_by_data(node: Node, config: Config) -> str | None:
    """A size that is computed from data cannot be compiled for; one that is computed from shapes can."""
    if config.engine != NAME:
        return None
    for name in _KNOWN_EARLY.get(node.op, ()):
        source = _data_behind(node[name])
        if source is not None:
            return f"XLA needs its {name} when it compiles, and %{source.name} is data"
    return None


def _data_behind(value: Value) -> Value | None:
    """Something that ``value`` is computed from other than shapes and constants."""
    seen: set[Value] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        node = value.producer
        if node is None or node.op.startswith("Placeholder"):
            return value
        if value not in seen and node.op not in _SHAPES:
            seen.add(value)
            waiting += node.inputs
    return None


SEGMENT_RULES = (SegmentRule("xla-sizes-from-data", _decided_by_data),)


def layer_rules() -> tuple[LayerRule, ...]:
    """The layer rules, for one load of the plugins."""
    return (LayerRule("xla-kernels", LayerJudge().check),)
