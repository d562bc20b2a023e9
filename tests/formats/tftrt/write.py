"""Writes the SavedModel ``model`` beside this file; run once, with tensorflow 2.17.1 (its CUDA wheel registers TF-TRT's ops).

    python write.py /tmp/somewhere

It is what ``TrtGraphConverterV2.save`` writes: TF-TRT's own op definitions check the nodes, its own ``_TRTEngineResource`` tracks the
engine file, TensorFlow's saver writes the directory. Two things are not its own, because they need a GPU and TensorRT 8: the segments
were cut by hand, and the resource handles that exist while the model is saved are those of a variable.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2, graph_pb2
from tensorflow.python.compiler.tensorrt import trt_convert
from tensorflow.python.eager import wrap_function
from tensorflow.python.saved_model import save

WIDTH = 8


def segment(seed: int) -> tf.types.experimental.ConcreteFunction:
    """A native segment: one argument, weights as constants."""
    rng = np.random.default_rng(seed)
    weights, bias = (rng.normal(size=s).astype(np.float32) for s in ((WIDTH, WIDTH), (WIDTH,)))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, name="TensorRTInputPH_0")])
    def body(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.tanh(tf.nn.relu(tf.matmul(x, weights) + bias))

    return body.get_concrete_function()


def add_engine(graph_def: graph_pb2.GraphDef, name: str, source: str, seed: int, plan: bytes) -> None:
    """One engine node as ConvertGraph makes it, and its native segment."""
    function = graph_def.library.function.add()
    function.CopyFrom(segment(seed).function_def)
    function.signature.name = f"{name}_native_segment"
    node = graph_def.node.add(
        name=name, op="TRTEngineOp", input=[source], device="/job:localhost/replica:0/task:0/device:GPU:0"
    )
    shape = tf.TensorShape([None, WIDTH]).as_proto()
    node.attr["segment_func"].func.name = function.signature.name
    for key in ("InT", "OutT"):
        node.attr[key].list.type.append(tf.float32.as_datatype_enum)
    for key in ("input_shapes", "output_shapes", "_output_shapes"):
        node.attr[key].list.shape.add().CopyFrom(shape)
    values = {
        "serialized_segment": plan, "segment_funcdef_name": b"", "workspace_size_bytes": 1 << 30, "max_cached_engines_count": 1,
        "max_batch_size": 1, "precision_mode": b"FP16", "calibration_data": b"", "use_calibration": False, "static_engine": bool(plan),
        "profile_strategy": b"", "fixed_input_size": True, "use_explicit_precision": False, "_use_implicit_batch": True,
        "_allow_build_at_runtime": True, "_profile_generation_mode": False,
    }  # fmt: skip
    for key, value in values.items():
        kind = {bytes: "s", bool: "b", int: "i"}[type(value)]
        node.attr[key].CopyFrom(attr_value_pb2.AttrValue(**{kind: value}))
    node.attr["cached_engine_batches"].list.SetInParent()


def main(directory: Path) -> None:
    """Write it."""
    graph_def = tf.Graph().as_graph_def()
    placeholder = graph_def.node.add(name="x", op="Placeholder")
    placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
    placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape([None, WIDTH]).as_proto())
    add_engine(graph_def, "TRTEngineOp_000_000", "x", 0, b"")
    between = graph_def.node.add(name="between", op="Cumsum", input=["TRTEngineOp_000_000", "axis"])
    axis = graph_def.node.add(name="axis", op="Const")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1))
    between.attr["T"].type, between.attr["Tidx"].type = tf.float32.as_datatype_enum, tf.int32.as_datatype_enum
    add_engine(graph_def, "TRTEngineOp_000_001", "between", 1, b"a plan of TensorRT 8")
    function = wrap_function.function_from_graph_def(graph_def, ["x:0"], ["TRTEngineOp_000_001:0"])
    function.graph.structured_input_signature = ((), {"x": tf.TensorSpec([None, WIDTH], tf.float32, name="x")})
    function._arg_keywords, function._num_positional_args = ["x"], 0

    made = trt_convert._get_resource_handle

    def handle(name: str, device: str) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[]) if tf.executing_eagerly() else made(name, device)

    trt_convert._get_resource_handle = handle
    engine_file = directory.parent / "trt-serialized-engine.TRTEngineOp_000_000"
    engine_file.write_bytes(b"TRTEngineInstance records of TensorRT 8")
    trackable = tf.Module()
    trackable.trt_engine_resources = {
        "TRTEngineOp_000_000": trt_convert._TRTEngineResource("TRTEngineOp_000_000", str(engine_file), 1, device="")
    }
    save.save(trackable, str(directory), {"serving_default": function})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
