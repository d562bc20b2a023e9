"""Writing a whole graph of TensorFlow ops as layers, node by node."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from tfgraphopt.ir import Graph, Node, OpTable, Tensor, Value, constant_of
from tfgraphopt.regions import copy_node
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.converter import Fragment


def lower_body(body: Graph, name: str, convert: Callable[[Node], Fragment], layers: OpTable) -> Graph:
    """``body`` as one graph ``name`` of layers, with the same formal inputs and outputs; ``convert`` gives the layers of a node."""
    return _Lowering(Graph(name, layers, dialect="trt"), convert).run(body)


@attrs.define(slots=True)
class _Lowering:
    graph: Graph
    convert: Callable[[Node], Fragment]
    values: dict[Value, Value] = attrs.field(factory=dict)

    def run(self, body: Graph) -> Graph:
        for value in body.inputs:
            self.values[value] = self.graph.add_input(value.name, value.type)
        for node in body:
            if node.outputs and (node.op != "Const" or node.control):
                self._splice(node, self.convert(node))
        self.graph.set_outputs([self._value(v) for v in body.outputs], body.output_names)
        erase_dead(self.graph, keep_placeholders=False)
        return self.graph

    def _splice(self, node: Node, fragment: Fragment) -> None:
        inner = dict(zip(fragment.graph.inputs, (self._value(v) for v in fragment.operands), strict=True))
        for layer in fragment.graph:
            copied = copy_node(self.graph, layer, [inner[v] for v in layer.inputs])
            inner.update(zip(layer.outputs, copied.outputs, strict=True))
        for mine, made in zip(node.outputs, fragment.graph.outputs, strict=True):
            self.values[mine] = inner[made]
            _refine(inner[made], mine)

    def _value(self, value: Value) -> Value:
        if value not in self.values:
            tensor = constant_of(value)
            assert isinstance(tensor, Tensor), f"%{value.name} has no lowered value"
            added = self.graph.add("trt.constant", [], {"value": tensor}, name=value.name, origin=(value.name,))
            self.values[value] = added.outputs[0]
        return self.values[value]


def _refine(made: Value, wanted: Value) -> None:
    """A layer's rule and TensorFlow's shape function may each know something that the other does not."""
    made.set_type(made.type.with_shape(made.shape.merge(wanted.shape)))
