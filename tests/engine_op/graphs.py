"""Graphs for the tests: a small CNN, and a graph whose whole body sits behind one engine node."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework.graph_to_function_def import graph_to_function_def

ENGINE = "TRTEngineOp_000_000"


def cnn(seed: int = 0) -> graph_pb2.GraphDef:
    """Return convolutions, batch norms, pooling and dense layers, random: ``x`` f32[?,16,16,3] -> ``y`` f32[?,10]."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    with tf.Graph().as_default() as graph:
        h = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 3], name="x")
        for width_in, width in ((3, 8), (8, 16), (16, 16)):
            h = tf.nn.conv2d(h, normal(3, 3, width_in, width) / 3, 1, "SAME")
            h = tf.compat.v1.nn.fused_batch_norm(
                h,
                1 + 0.2 * normal(width),
                normal(width),
                normal(width),
                0.5 + np.abs(normal(width)),
                epsilon=1e-3,
                is_training=False,
            )[0]
            h = tf.nn.relu(h)
        residual = tf.nn.conv2d(h, normal(1, 1, 16, 16) / 4, 1, "VALID")
        h = tf.nn.relu6(tf.nn.bias_add(residual, normal(16)) + h)
        h = tf.nn.avg_pool2d(h, 2, 2, "SAME")
        h = tf.reshape(h, [-1, 8 * 8 * 16])
        h = tf.nn.relu(tf.nn.bias_add(tf.matmul(h, normal(8 * 8 * 16, 32) / 32), normal(32)))
        tf.nn.softmax(tf.nn.bias_add(tf.matmul(h, normal(32, 10) / 6), normal(10)), name="y")
        return graph.as_graph_def()


def behind_engine(
    body: graph_pb2.GraphDef,
    inputs: Sequence[str],
    outputs: Sequence[str],
    op: str = "TRTEngineOp",
    device: str = "/device:CPU:0",
    **engine: bytes | str | bool,
) -> graph_pb2.GraphDef:
    """Return the placeholders of ``body``, one engine node whose body is the rest, and identities named ``outputs``.

    The runtimes of these tests compute on the CPU, so the node is there, also where there is a GPU.
    """
    result = graph_pb2.GraphDef()
    result.versions.CopyFrom(body.versions)
    inner = tf.Graph()
    with inner.as_default():
        tf.graph_util.import_graph_def(body, name="")
    ins = [inner.get_tensor_by_name(f"{name}:0") for name in inputs]
    outs = [inner.get_tensor_by_name(f"{name}:0") for name in outputs]
    placeholders = {t.op for t in ins}
    operations = [o for o in inner.get_operations() if o not in placeholders]
    function = graph_to_function_def(inner, operations, ins, outs)
    # An eager context holds one function per name in a process: the name carries the content.
    function.signature.name = (
        f"{ENGINE}_native_segment_{hashlib.sha256(function.SerializeToString(deterministic=True)).hexdigest()[:12]}"
    )
    # A session's Grappler would rewrite the body with no device known, and the kernel once more: other fusions than
    # the original gets. It passes over functions of tf.data, which are optimised when they are instantiated, as ours.
    function.attr["_tf_data_function"].b = True
    result.library.function.append(function)
    result.node.extend(o.node_def for o in inner.get_operations() if o in placeholders)
    result.node.append(engine_node(inputs, function.signature.name, ins, outs, op, engine))
    result.node[-1].device = device
    for i, (name, tensor) in enumerate(zip(outputs, outs, strict=True)):
        identity = result.node.add(name=name, op="Identity", input=[f"{ENGINE}:{i}"])
        identity.attr["T"].type = tensor.dtype.as_datatype_enum
    return result


def engine_node(
    inputs: Sequence[str],
    body: str,
    ins: Sequence[tf.Tensor],
    outs: Sequence[tf.Tensor],
    op: str,
    engine: Mapping[str, bytes | str | bool],
) -> node_def_pb2.NodeDef:
    """Return the engine node; ``engine`` gives attributes (bytes, str or bool) beyond TF-TRT's own."""
    node = node_def_pb2.NodeDef(name=ENGINE, op=op, input=list(inputs))
    node.attr["segment_func"].func.name = body
    node.attr["InT"].list.type.extend(t.dtype.as_datatype_enum for t in ins)
    node.attr["OutT"].list.type.extend(t.dtype.as_datatype_enum for t in outs)
    node.attr["workspace_size_bytes"].i = 1 << 20
    node.attr["precision_mode"].s = b"FP32"
    node.attr["serialized_segment"].s = b""
    for shape in (t.shape for t in outs):
        node.attr["output_shapes"].list.shape.append(shape.as_proto())
    for key, value in engine.items():
        if isinstance(value, bool):
            node.attr[key].b = value
        else:
            node.attr[key].s = value.encode() if isinstance(value, str) else value
    return node


def doubled(rank: int = 2) -> graph_pb2.GraphDef:
    """Return ``y = x * 2`` for ``x`` f32 of ``rank`` unknown dimensions."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None] * rank, name="x")
        tf.multiply(x, 2.0, name="y")
        return graph.as_graph_def()


def session(graph_def: graph_pb2.GraphDef, config: tf.compat.v1.ConfigProto | None = None) -> tf.compat.v1.Session:
    """Return a TF1 session of ``graph_def``."""
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
    return tf.compat.v1.Session(graph=graph, config=config)


def run(graph_def: graph_pb2.GraphDef, x: np.ndarray, config: tf.compat.v1.ConfigProto | None = None) -> np.ndarray:
    """Run ``y`` of ``graph_def`` on ``x`` in a session of its own."""
    with session(graph_def, config) as s:
        result: np.ndarray = s.run("y:0", {"x:0": x})
        return result
