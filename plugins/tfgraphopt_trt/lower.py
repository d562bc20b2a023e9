"""lower: give every segment a second body in ``trt.*`` layers; the first one, in TF ops, stays as the fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph, Node, OpTable, Tensor, Value, constant_of
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import copy_node
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.converter import Converter, Fragment, convert
from tfgraphopt_trt.engine_nodes import OPS, body_of
from tfgraphopt_trt.segment import SEGMENTS
from tfgraphopt_trt.support import Support

LOWERED = "lowered"


@attrs.frozen(slots=True)
class Lower(Pass):
    """Write the lowered body of every segment by running the converters of its nodes."""

    name: ClassVar[str] = "lower"
    needs: ClassVar[frozenset[str]] = frozenset({SEGMENTS})
    provides: ClassVar[frozenset[str]] = frozenset({LOWERED})
    dialect: ClassVar[str | None] = None

    def run(self, graph: Graph, ctx: Context) -> None:
        support = Support.of(ctx)
        for name in ctx.report.segments:
            call = graph.find(name)
            if call is not None and call.op in OPS and name not in ctx.module.lowered:
                body = ctx.module.functions[body_of(call)]
                ctx.module.lowered[name] = lower(body, name, support)


def lower(body: Graph, name: str, support: Support) -> Graph:
    """The body of TF ops as one graph of layers, with the same formal inputs and outputs."""
    return _Lowering(Graph(name, support.layers, dialect="trt"), support.converters, support.layers).run(body)


@attrs.define(slots=True)
class _Lowering:
    graph: Graph
    converters: Mapping[str, Converter]
    layers: OpTable
    values: dict[Value, Value] = attrs.field(factory=dict)

    def run(self, body: Graph) -> Graph:
        for value in body.inputs:
            self.values[value] = self.graph.add_input(value.name, value.type)
        for node in body:
            if node.op != "Const" or node.control:
                self._splice(node, convert(self.converters[node.op], node, self.layers))
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
