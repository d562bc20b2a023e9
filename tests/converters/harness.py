"""One node at a time: TensorFlow's own result against the meaning of the layers that its converter wrote.

``check`` builds a TF graph around one op, imports it, converts the node, evaluates the layers and compares values,
dtypes and static shapes. ``refused`` gives the reason of a refusal. Any registered op works, also those without a
``tf.raw_ops`` entry (grappler's).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_library, op_def_registry

from converters.building import record
from converters.ledger import LEDGER
from tfgraphopt.graphdef import attr_of_proto, import_graph_def
from tfgraphopt.ir import DType, Node, Shape, TensorType
from tfgraphopt_converters import all_converters
from tfgraphopt_trt.builder import Unsupported
from tfgraphopt_trt.converter import Converter, Fragment, convert
from tfgraphopt_trt.layers import layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate

Array = np.ndarray[Any, Any]
Unknown = Literal["all", "none"] | Collection[int] | Mapping[str, Collection[int]]

TOLERANCE = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-10}


@attrs.frozen
class Const:
    """An input that the graph knows as a constant."""

    value: Any
    dtype: Any = None

    @property
    def array(self) -> Array:
        """The elements; Python integers become int32 and floats float32, as in TensorFlow."""
        array = np.asarray(self.value, dtype=self.dtype)
        narrow = {np.dtype(np.int64): np.int32, np.dtype(np.float64): np.float32}.get(array.dtype)
        plain = not isinstance(self.value, np.ndarray | np.generic) and self.dtype is None
        return array.astype(narrow) if plain and narrow is not None else array


Inputs = Mapping[str, Any] | Sequence[Any]


@attrs.define
class Case:
    """A TF graph around one op, its IR and what feeds it."""

    op: str
    graph: tf.Graph
    feeds: dict[str, Array]
    node: Node
    fetches: list[tf.Tensor]
    outputs: tuple[int, ...]

    def expected(self) -> list[Array]:
        """TensorFlow's own results, without its graph rewriting."""
        config = tf.compat.v1.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf.compat.v1.Session(graph=self.graph, config=config) as session:
            feeds = {self.graph.get_tensor_by_name(f"{n}:0"): a for n, a in self.feeds.items()}
            return list(session.run([self.fetches[i] for i in self.outputs], feeds))

    def convert(self) -> Fragment:
        """The node's layers; Unsupported when its converter refuses."""
        return convert(converter_of(self.op), self.node, layer_table())

    def operand_arrays(self, fragment: Fragment) -> list[Array]:
        """What feeds the fragment's formal inputs."""
        return [self.feeds[v.name] for v in fragment.operands]


def converter_of(op: str) -> Converter:
    """The converter of ``op``; KeyError when no family has one."""
    found = [c for c in all_converters() if op in c.ops]
    if len(found) != 1:
        raise KeyError(f"{len(found)} converters claim {op}")
    return found[0]


def case(
    op: str, inputs: Inputs, attributes: Mapping[str, Any] | None = None, *, unknown: Unknown = "none",
    outputs: Sequence[int] | None = None,
) -> Case:  # fmt: skip
    """The graph of one ``op``; see :func:`check` for the arguments."""
    named = _named(op, inputs)
    feeds: dict[str, Array] = {}
    graph = tf.Graph()
    with graph.as_default():
        operands = {arg: _operand(arg, value, unknown, feeds) for arg, value in named.items()}
        op_def_library.apply_op(op, name="node", **operands, **{**_defaults(op), **dict(attributes or {})})
    fetches = list(graph.get_operation_by_name("node").outputs)
    wanted = tuple(range(len(fetches))) if outputs is None else tuple(outputs)
    module = import_graph_def(graph.as_graph_def(), [fetches[i].name for i in wanted])
    _set_types(module.main, graph)
    return Case(op, graph, feeds, module.main.node("node"), fetches, wanted)


def _defaults(op: str) -> dict[str, Any]:
    """The attributes that ``tf.raw_ops`` would fill in; types and lengths follow from the operands."""
    definition = op_def_registry.get(op)
    lengths = {a.number_attr for a in definition.input_arg}
    given = [
        a for a in definition.attr if a.HasField("default_value") and a.name not in lengths and "type" not in a.type
    ]
    return {a.name: _plain(attr_of_proto(a.default_value)) for a in given}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _named(op: str, inputs: Inputs) -> dict[str, Any]:
    if isinstance(inputs, Mapping):
        return dict(inputs)
    names = [a.name for a in op_def_registry.get(op).input_arg]
    return dict(zip(names, inputs, strict=True))


def _operand(arg: str, value: Any, unknown: Unknown, feeds: dict[str, Array]) -> Any:
    if isinstance(value, list | tuple):
        return [_operand(f"{arg}_{i}", v, unknown, feeds) for i, v in enumerate(value)]
    if isinstance(value, Const):
        return tf.constant(value.array)
    array = np.asarray(value)
    axes = _unknown_axes(arg, array.ndim, unknown)
    feeds[f"in_{arg}"] = array
    shape = [None if i in axes else d for i, d in enumerate(array.shape)]
    return tf.compat.v1.placeholder(array.dtype, shape, name=f"in_{arg}")


def _unknown_axes(arg: str, rank: int, unknown: Unknown) -> set[int]:
    if isinstance(unknown, Mapping):
        unknown = unknown.get(arg, ())
    if isinstance(unknown, str):
        return set(range(rank)) if unknown == "all" else set()
    return {a % rank for a in unknown if -rank <= a < rank}


def _set_types(main: Any, graph: tf.Graph) -> None:
    """TensorFlow's own shape inference, written onto the imported values."""
    for node in main:
        for value, tensor in zip(node.outputs, graph.get_operation_by_name(node.name).outputs, strict=True):
            shape = Shape(None if tensor.shape.rank is None else tensor.shape.as_list())
            value.set_type(TensorType(DType.of_number(tensor.dtype.as_datatype_enum), shape))


def check(
    op: str, inputs: Inputs, attributes: Mapping[str, Any] | None = None, *, unknown: Unknown = "none",
    rtol: float | None = None, atol: float | None = None, outputs: Sequence[int] | None = None, build: bool = False,
    compare: Any = None,
) -> Fragment:  # fmt: skip
    """Convert one node and hold the layers' meaning against TensorFlow's result; returns the layers.

    Args:
        op: any registered TF op.
        inputs: by argument name or in order; an array is a run-time tensor, ``Const(...)`` a constant, a list a list
            argument.
        attributes: the op's attributes.
        unknown: the dimensions the graph does not know: ``"all"``, ``"none"``, axes of every run-time input, or axes by
            argument (``x_1`` is the second tensor of list argument ``x``).
        rtol, atol: relative and absolute tolerance, by dtype when not given; integers must be equal.
        outputs: the results that are used and compared (all by default).
        build: also build the layers with the real TensorRT builder, with a profile around the given shapes.
        compare: ``compare(index, actual, expected)`` instead of the comparison of values.
    """
    one = case(op, inputs, attributes, unknown=unknown, outputs=outputs)
    fragment = one.convert()
    expected = one.expected()
    results = [fragment.graph.outputs[i] for i in one.outputs]
    actual = run_layers(fragment, one.operand_arrays(fragment))
    for index, value, want in zip(one.outputs, results, expected, strict=True):
        want = np.asarray(want)
        got = np.asarray(actual[index])
        assert got.dtype == want.dtype, f"result {index} is {got.dtype}, not {want.dtype}"
        assert got.shape == want.shape, f"result {index} is {got.shape}, not {want.shape}"
        assert value.shape.compatible(Shape(want.shape)), f"result {index} is {want.shape}, was {value.type}"
        if compare is not None:
            compare(index, got, want)
        else:
            assert_close(got, want, rtol, atol)
    record(one.node, fragment, one.operand_arrays(fragment), build=build)
    return fragment


def assert_close(got: Array, want: Array, rtol: float | None = None, atol: float | None = None) -> None:
    """Equal up to rounding: NaN meets NaN, infinities are equal, integers and bools exactly."""
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
        return
    name = want.dtype.name
    rtol = TOLERANCE.get(name, 1e-5) if rtol is None else rtol
    atol = TOLERANCE.get(name, 1e-5) if atol is None else atol
    np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True)


def refused(
    op: str, inputs: Inputs, attributes: Mapping[str, Any] | None = None, *, unknown: Unknown = "none",
    outputs: Sequence[int] | None = None,
) -> str:  # fmt: skip
    """The reason why the converter refuses the node; the test fails when it does not."""
    with pytest.raises(Unsupported) as error:
        case(op, inputs, attributes, unknown=unknown, outputs=outputs).convert()
    LEDGER.refused(op, str(error.value))
    return str(error.value)


def run_layers(fragment: Fragment, arrays: Sequence[Array]) -> list[Array]:
    """The results of the layers' meaning on ``arrays``."""
    return list(evaluate(fragment.graph, layer_map(), list(arrays)))
