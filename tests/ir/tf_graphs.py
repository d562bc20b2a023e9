"""TensorFlow graphs of every kind, made by TensorFlow itself, and how to compare and to run GraphDefs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

GraphDef = tf.compat.v1.GraphDef
Made = tuple[GraphDef, dict[str, np.ndarray], list[str]]


def of_function(function: Callable[..., Any], *arrays: np.ndarray) -> Made:
    """(GraphDef, feeds, fetches) of a function traced for arrays like these, batch unknown."""
    specs = [tf.TensorSpec([None, *a.shape[1:]] if a.ndim else [], a.dtype) for a in arrays]
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    graph_def = concrete.graph.as_graph_def()
    feeds = {t.name: a for t, a in zip(concrete.inputs, arrays, strict=True)}
    return graph_def, feeds, [t.name for t in concrete.outputs]


def run(graph_def: GraphDef, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
    """What TensorFlow computes, with nothing optimised."""
    config = tf.compat.v1.ConfigProto(device_count={"GPU": 0}, allow_soft_placement=True)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        return list(session.run(list(fetches), dict(feeds)))


def normal_form(graph_def: GraphDef) -> dict[str, Any]:
    """What must survive: nodes by name with default attributes left out, functions, gradients, versions."""
    functions = {f.signature.name: _function(f) for f in graph_def.library.function}
    signatures = {f.signature.name: f.signature for f in graph_def.library.function}
    return {
        "nodes": {n.name: _node(n, signatures) for n in graph_def.node},
        "functions": functions,
        "gradients": sorted((g.function_name, g.gradient_func) for g in graph_def.library.gradient),
        "versions": graph_def.versions.SerializeToString(deterministic=True),
    }


def _node(node: Any, signatures: Mapping[str, Any]) -> tuple[Any, ...]:
    definition = op_def_registry.get(node.op) or signatures[node.op]
    defaults = {a.name: a.default_value for a in definition.attr if a.HasField("default_value")}
    kept = {
        k: v.SerializeToString(deterministic=True)
        for k, v in node.attr.items()
        if k not in defaults
        or v.SerializeToString(deterministic=True) != defaults[k].SerializeToString(deterministic=True)
    }
    data = [i.removesuffix(":0") for i in node.input if not i.startswith("^")]
    control = {i for i in node.input if i.startswith("^")}
    debug = node.experimental_debug_info.SerializeToString(deterministic=True)
    return node.op, data, control, node.device, kept, debug


def _function(function: Any) -> dict[str, Any]:
    rest = type(function)()
    rest.CopyFrom(function)
    for field in ("node_def", "ret", "control_ret", "attr"):
        rest.ClearField(field)
    rest.signature.ClearField("control_output")
    return {
        "rest": rest.SerializeToString(deterministic=True),
        "nodes": {n.name: _function_node(n) for n in function.node_def},
        "ret": dict(function.ret),
        "control_ret": dict(function.control_ret),
        "attr": {k: v.SerializeToString(deterministic=True) for k, v in function.attr.items()},
    }


def _function_node(node: Any) -> tuple[Any, ...]:
    return _node(node, {})


# -- graphs --------------------------------------------------------------------------------------------------------------

_RNG = np.random.default_rng(0)
_IMAGE = _RNG.standard_normal((2, 8, 8, 3)).astype(np.float32)
_MATRIX = _RNG.standard_normal((3, 4)).astype(np.float32)


def _network(x: Any) -> Any:
    w = tf.constant(_RNG.standard_normal((3, 3, 3, 5)).astype(np.float32))
    y = tf.nn.relu(tf.nn.conv2d(x, w, 2, "SAME", name="conv"))
    y = tf.nn.max_pool2d(y, 2, 2, "VALID")
    a, b, c, d, e = tf.split(y, 5, axis=-1)
    return tf.concat([a, e, c], -1), tf.reduce_mean(b + d, [1, 2])


def _control_flow(x: Any, n: Any) -> Any:
    y = tf.cond(n > 2, lambda: tf.reduce_sum(x) + 1.0, lambda: tf.cond(n > 0, lambda: tf.reduce_mean(x), lambda: 7.0))
    _, z = tf.while_loop(lambda i, z: i < n, lambda i, z: (i + 1, z * 1.5 + y), [0, y])
    picked = tf.switch_case(n, [lambda: x * 2.0, lambda: x - 1.0])
    return y, z, picked


def _stateful(x: Any) -> Any:
    check = tf.debugging.Assert(tf.reduce_all(x < 1e9), [x], name="check")
    with tf.control_dependencies([check]):
        y = tf.identity(x, name="guarded")
    return tf.map_fn(lambda row: tf.reduce_max(row), y), tf.nn.softmax(y)


def _strings(x: Any) -> Any:
    words = tf.constant([[b"a", b"\xff\x00"], [b"", "ü".encode()]])
    return tf.strings.length(words), tf.strings.join([words, tf.as_string(x[:2, :2])], separator="/")


@tf.function(autograph=False)
def _inner(a: Any, b: Any) -> Any:
    return tf.matmul(a, b, transpose_b=True), a + 1.0


def _calls(x: Any) -> Any:
    y, z = _inner(x, x)
    _, again = _inner(z, z)
    return y, again


def _attributes() -> Made:
    """Attributes of every kind, lists of every kind, devices, colocation, control edges, debug info."""
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        with tf.device("/device:CPU:0"):
            first = tf.identity(x, "first")
        with graph.colocate_with(first.op), graph.control_dependencies([tf.no_op("init")]):
            second = tf.nn.leaky_relu(first, float(np.float32(0.1)), name="second")
        queue = tf.queue.FIFOQueue(3, [tf.float32, tf.int32], [[2], []], name="queue")
        tf.no_op("target")
        named = tf.identity_n([second, tf.constant(3, tf.int64)], "several")
        options: dict[str, Any] = {
            "_text": b"text", "_bytes": b"\xfe\xff", "_int": -5, "_float": float("nan"), "_inf": float("inf"), "_flag": True,
            "_type": tf.int8.as_datatype_enum,
        }  # fmt: skip
    proto = graph.as_graph_def()
    node = next(n for n in proto.node if n.name == "second")
    for key, value in options.items():
        field = {"_text": "s", "_bytes": "s", "_int": "i", "_float": "f", "_inf": "f", "_flag": "b", "_type": "type"}[
            key
        ]
        setattr(node.attr[key], field, value)
    node.attr["_shape"].shape.CopyFrom(tf.TensorShape([None, 3]).as_proto())
    node.attr["_unknown"].shape.CopyFrom(tf.TensorShape(None).as_proto())
    node.attr["_tensor"].tensor.CopyFrom(tf.make_tensor_proto(np.arange(3.0)))
    node.attr["_func"].func.name = "somewhere"
    node.attr["_func"].func.attr["T"].type = 1
    lists = node.attr["_ints"].list
    lists.i.extend([3, -1])
    node.attr["_floats"].list.f.extend([0.5, float("-inf")])
    node.attr["_flags"].list.b.extend([True, False])
    node.attr["_texts"].list.s.extend([b"a", b"\xff"])
    node.attr["_types"].list.type.extend([1, 3])
    node.attr["_shapes"].list.shape.extend([tf.TensorShape([2, None]).as_proto(), tf.TensorShape(None).as_proto()])
    node.attr["_tensors"].list.tensor.extend([tf.make_tensor_proto([1, 2])])
    node.attr["_funcs"].list.func.add(name="f")
    node.attr["_empty"].list.SetInParent()
    node.experimental_debug_info.original_node_names.append("before")
    assert queue.names is None or queue.names
    return proto, {"x:0": _MATRIX}, [t.name for t in named]


def _all_dtypes() -> Made:
    graph = tf.Graph()
    fetches = []
    with graph.as_default():
        for dtype in (
            np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64,
            np.bool_, np.complex64, np.complex128, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn,
        ):  # fmt: skip
            for array in (
                np.array([0, 1, 1], dtype),
                np.ones((2, 2), dtype),
                np.array(1, dtype),
                np.zeros((0, 3), dtype),
            ):
                fetches.append(tf.constant(array).name)
        fetches.append(tf.constant([b"a", b"\xff"]).name)
    return graph.as_graph_def(), {}, fetches


def _old_call() -> Made:
    """A function called by using its name as an op, as TensorFlow 1 did."""
    proto, feeds, fetches = of_function(_calls, _MATRIX)
    called = next(n for n in proto.node if n.op.endswith("PartitionedCall"))
    name = called.attr["f"].func.name
    for node in proto.node:
        if node.op == called.op and node.attr["f"].func.name == name:
            for attr in list(node.attr):
                del node.attr[attr]
            node.op = name
    return proto, feeds, fetches


CASES: dict[str, Callable[[], Made]] = {
    "network": lambda: of_function(_network, _IMAGE),
    "control flow": lambda: of_function(_control_flow, _MATRIX, np.array(3, np.int32)),
    "stateful": lambda: of_function(_stateful, _MATRIX),
    "strings": lambda: of_function(_strings, _MATRIX),
    "calls": lambda: of_function(_calls, _MATRIX),
    "old call": _old_call,
    "attributes": _attributes,
    "all dtypes": _all_dtypes,
}  # fmt: skip
