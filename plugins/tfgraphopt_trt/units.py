"""Nodes that share something that no engine can take or give (a list of tensors): converted together or not at all.

While a graph is judged, each such group is one call of a function; afterwards its nodes are put back as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from tfgraphopt.errors import MutationError
from tfgraphopt.ir import Attrs, DType, FuncRef, Graph, Node, Value
from tfgraphopt.regions import copy_graph, copy_node, inline, outline
from tfgraphopt.transforms.identity import FORWARDING
from tfgraphopt_trt.functions import functions_of

CALL = "PartitionedCall"
_TIES = frozenset({DType.VARIANT})


@attrs.frozen(slots=True)
class Member:
    """A node as a report names it."""

    name: str
    op: str
    origin: tuple[str, ...]


def work_of(node: Node, seen: frozenset[str] = frozenset()) -> int:
    """How many nodes do work when ``node`` runs: itself, and those of the functions that it runs (once each)."""
    inner = [f for f in functions_of(node) if f is not None and f.name not in seen]
    own = node.op not in FORWARDING and node.op not in ("Const", "NoOp")
    return own + sum(work_of(n, seen | {f.name}) for f in inner for n in f)


@attrs.define(slots=True, eq=False)
class Units:
    """The units of one graph: their functions and members by the name of the call."""

    functions: dict[str, Graph] = attrs.field(factory=dict)
    members: dict[str, tuple[Member, ...]] = attrs.field(factory=dict)
    twins: dict[str, str] = attrs.field(factory=dict)

    @classmethod
    def form(cls, graph: Graph) -> Units:
        """Put every unit of ``graph`` into a call. What cannot be one node (it would wait for itself, or is fetched) is left."""
        units = cls()
        units._separate(graph)
        outer = graph.functions
        graph.functions = _Functions(units.functions, outer)
        for nodes in _tied(graph):
            units._put(graph, nodes)
        return units

    def of(self, node: Node) -> tuple[Member, ...]:
        """The members behind ``node``: itself, unless it is the call of a unit."""
        return self.members.get(node.name) or (Member(node.name, node.op, node.origin),)

    def dissolve(self, graph: Graph) -> None:
        """Put the nodes of every unit whose call is in ``graph`` in its place again."""
        for node in graph:
            if node.name in self.functions and node.op == CALL:
                inline(graph, node, self.functions[node.name], prefix="")
        for node in graph:
            first = graph.find(self.twins.get(node.name, ""))
            if first is not None and graph.comes_before(first, node):
                for mine, theirs in zip(node.outputs, first.outputs, strict=True):
                    mine.replace_uses(theirs)
                graph.erase(node)
        if isinstance(graph.functions, _Functions) and graph.functions.own is self.functions:
            graph.functions = graph.functions.outer

    def _separate(self, graph: Graph) -> None:
        """Give each reader a list of its own where several start from one: two loops need not be one unit for that."""
        for node in graph:
            starts = any(v.dtype in _TIES for v in node.outputs) and not any(v.dtype in _TIES for v in node.inputs)
            if not starts or node.control or node.control_users or graph.keeps(node):
                continue
            for user in node.users[1:]:
                twin = copy_node(graph, node, node.inputs, before=graph.successor(node))
                self.twins[twin.name] = node.name
                for value, mine in zip(node.outputs, twin.outputs, strict=True):
                    for reader, index in value.uses:
                        if reader is user:
                            reader.set_input(index, mine)

    def _put(self, graph: Graph, nodes: Sequence[Node]) -> None:
        members = tuple(Member(self.twins.get(n.name, n.name), n.op, n.origin) for n in nodes)
        name = f"{nodes[0].name}/unit"
        while graph.find(name) is not None:
            name += "_"
        try:
            outlined = outline(graph, nodes, op=CALL, name=name, body_name=name, call_attrs=_CallAttrs(name))
        except MutationError:
            return
        outlined.body.functions = graph.functions
        self.functions[outlined.call.name] = outlined.body
        self.members[outlined.call.name] = members


@attrs.frozen(slots=True, eq=False)
class _Functions:
    """Finds a unit's function, or one of the module."""

    own: Mapping[str, Graph]
    outer: Callable[[str], Graph | None]

    def __call__(self, name: str) -> Graph | None:
        return self.own.get(name) or self.outer(name)


@attrs.frozen(slots=True)
class _CallAttrs:
    name: str

    def __call__(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Attrs:
        return {"f": FuncRef(self.name), "Tin": tuple(v.dtype for v in inputs), "Tout": tuple(v.dtype for v in outputs)}


def _tied(graph: Graph) -> Iterable[list[Node]]:
    """Groups of nodes with ties between them, each in the order of the graph; those with a fetched node are left out."""
    group: dict[Node, list[Node]] = {}
    for node in graph:
        makers = [v.producer for v in node.inputs if v.dtype in _TIES and v.producer is not None]
        joined = list({id(g): g for m in makers if (g := group.get(m)) is not None}.values())
        if not joined and not any(v.dtype in _TIES for v in node.outputs):
            continue
        merged = [n for g in joined for n in g] + [node]
        group.update((n, merged) for n in merged)
    kept = set(graph.keep.values())
    for nodes in {id(g): g for g in group.values()}.values():
        if len(nodes) > 1 and not kept.intersection(nodes):
            yield sorted(nodes, key=lambda n: n.position)


def unit_copy(graph: Graph) -> Graph:
    """A copy of ``graph`` in which every unit is a call."""
    copy = copy_graph(graph)
    Units.form(copy)
    return copy
