"""Graphs of engine nodes on a GPU: chains of them, and one with a shape tensor."""

from __future__ import annotations

import tensorflow as tf
from engine_op.graphs import ENGINE, behind_engine, doubled
from tensorflow.core.framework import graph_pb2, node_def_pb2


def chain(count: int, *, device: str = "/GPU:0", **engine: bytes | str | bool) -> graph_pb2.GraphDef:
    """Return ``count`` engine nodes one after another, ``x`` f32[?,?] to ``y``; the body of each doubles."""
    graph_def = behind_engine(doubled(), ["x"], ["y"], "TfgraphoptEngineOp", device, **engine)
    first = _node(graph_def, ENGINE)
    for i in range(1, count):
        node = graph_def.node.add()
        node.CopyFrom(first)
        node.name, node.input[0] = f"{ENGINE}_{i}", ENGINE if i == 1 else f"{ENGINE}_{i - 1}"
    if count > 1:
        _node(graph_def, "y").input[0] = f"{ENGINE}_{count - 1}"
    return graph_def


def tiled(*, host: bool = True, **engine: bytes | str | bool) -> graph_pb2.GraphDef:
    """Return ``y`` f32[n,?,?]: ``n`` (int32[1]) copies of 2 ``x`` by the body; ``host`` registers ``n`` in host memory."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        n = tf.compat.v1.placeholder(tf.int32, [1], name="n")
        tf.tile(tf.expand_dims(2.0 * x, 0), tf.concat([n, tf.constant([1, 1])], 0), name="y")
    graph_def = behind_engine(graph.as_graph_def(), ["x", "n"], ["y"], "TfgraphoptEngineOp", "/GPU:0", **engine)
    if host:
        _node(graph_def, ENGINE).attr["_input_hostmem"].list.i.append(1)
    return graph_def


def with_shape(*, host: bool = True, **engine: bytes | str | bool) -> graph_pb2.GraphDef:
    """Return ``y`` = 2 ``x`` by the body and its ``shape`` int32[2]; ``host`` registers that output in host memory."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        tf.multiply(x, 2.0, name="y")
        tf.shape(x, name="shape")
    graph_def = behind_engine(graph.as_graph_def(), ["x"], ["y", "shape"], "TfgraphoptEngineOp", "/GPU:0", **engine)
    if host:
        _node(graph_def, ENGINE).attr["_output_hostmem"].list.i.append(1)
    return graph_def


def on_devices(graph_def: graph_pb2.GraphDef, device: str) -> graph_pb2.GraphDef:
    """Return a copy whose engine nodes are on ``device``."""
    copy = graph_pb2.GraphDef()
    copy.CopyFrom(graph_def)
    for node in copy.node:
        if node.name.startswith(ENGINE):
            node.device = device
    return copy


def _node(graph_def: graph_pb2.GraphDef, name: str) -> node_def_pb2.NodeDef:
    return next(n for n in graph_def.node if n.name == name)
