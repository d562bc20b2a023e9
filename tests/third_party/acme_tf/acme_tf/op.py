"""The op: what tfgraphopt is told of it, and the library that lets TensorFlow run it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import tensorflow as tf

from tfgraphopt.ir import ArgDef, AttrDef, DType, OpDef
from tfgraphopt.native import build_op_library

OP = OpDef(
    "AcmeSoftCap",
    inputs=(ArgDef("x", type_attr="T"),),
    outputs=(ArgDef("y", type_attr="T"),),
    attrs=(AttrDef("T", "type", DType.FLOAT, True), AttrDef("cap", "float", 30.0, True)),
    infer=lambda inputs, attributes: [inputs[0].type],
    doc="cap * tanh(x / cap), element by element.",
)
"""With this, graphs that have the op can be optimised in a process that cannot run it."""


def load() -> ModuleType:
    """Register the op with TensorFlow in this process, and give its Python functions; it is compiled the first time."""
    library = build_op_library("acme_soft_cap", [Path(__file__).with_name("soft_cap.cc")])
    functions: ModuleType = tf.load_op_library(str(library))
    return functions
