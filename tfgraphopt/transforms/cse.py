"""cse: compute equal things once."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph, Node
from tfgraphopt.ir.compare import attr_key
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.dead_code import FED


@attrs.frozen(slots=True)
class CommonSubexpressionElimination(Pass):
    """Merge nodes of the same op, inputs, attributes and device.

    Stateful nodes and constants above ``max_bytes`` are left alone.
    """

    name: ClassVar[str] = "cse"
    after: ClassVar[tuple[str, ...]] = ("fold-constants", "remove-identity", "canonicalize")
    max_bytes: int = 1 << 20

    def run(self, graph: Graph, ctx: Context) -> None:
        seen: dict[object, Node] = {}
        for node in graph:
            key = self._key(node)
            if key is None:
                continue
            first = seen.setdefault(key, node)
            if first is not node and not graph.keeps(node):
                _merge(graph, node, first)

    def _key(self, node: Node) -> object:
        definition = node.definition
        if definition is None or definition.stateful or node.op in FED or not node.outputs:
            return None
        if node.op == "Const" and (node.outputs[0].type.num_bytes or 0) > self.max_bytes:
            return None
        inputs = [id(v) for v in node.inputs]
        if definition.commutative:
            inputs.sort()
        attributes = _attributes(node)
        return (node.op, tuple(inputs), tuple(sorted(id(c) for c in node.control)), attributes, node.device)


def _attributes(node: Node) -> frozenset[tuple[str, object]]:
    return frozenset((k, attr_key(v)) for k, v in node.attrs.items() if k not in ("_output_shapes", "_class"))


def _merge(graph: Graph, node: Node, first: Node) -> None:
    for mine, theirs in zip(node.outputs, first.outputs, strict=True):
        mine.replace_uses(theirs)
    for user in node.control_users:
        user.set_control(first if c is node else c for c in user.control)
    graph.erase(node)
