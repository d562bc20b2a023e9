"""The intermediate representation: types, values, nodes, graphs, modules, op definitions."""

from tfgraphopt.ir.body import Body, bodies_of, nodes_within
from tfgraphopt.ir.core import Graph, Listener, Module, Node, Value, constant_of
from tfgraphopt.ir.opdef import ArgDef, AttrDef, AttrPlaceholder, Attrs, AttrValue, FuncRef, OpDef, OpTable
from tfgraphopt.ir.tensor import Tensor
from tfgraphopt.ir.types import SCALAR, UNKNOWN_SHAPE, Dim, DType, Shape, TensorType

__all__ = [
    "SCALAR", "UNKNOWN_SHAPE", "ArgDef", "AttrDef", "AttrPlaceholder", "AttrValue", "Attrs", "Body", "DType", "Dim", "FuncRef",
    "Graph", "Listener", "Module", "Node", "OpDef", "OpTable", "Shape", "Tensor", "TensorType", "Value", "bodies_of",
    "constant_of", "nodes_within",
]  # fmt: skip
