"""The layout problem of a graph: which layer works in which order, so that as few bytes as possible are permuted.

Transposes are taken out of the picture: a tensor and its transposes are one :class:`Root`, which its producer makes in one order
and its readers want in others. Each order that a reader wants and the producer does not make costs the bytes of the tensor once.
Orders that differ only in where axes of size one stand cost no bytes but a layer; among solutions of equal bytes those with fewer
layers are better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from tfgraphopt.ir import Dim, Graph, Node, Value, constant_of
from tfgraphopt_layout.permutations import Perm, compose, identity, moving
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, checked, unchanged

TRANSPOSE = "trt.transpose"
LAYER_BITS = 24
"""A cost is bytes times two to this power plus layers, so that no number of layers outweighs a byte."""


@attrs.frozen(slots=True, eq=False)
class Reader:
    """Something that reads a root, or a transpose of it in order ``perm``: an operand of ``node``, or a result of the graph."""

    node: Node | None
    index: int
    perm: Perm


@attrs.define(slots=True, eq=False)
class Root:
    """A tensor that no transpose makes, with everything that reads it or a transpose of it.

    ``weight`` is its bytes (0 for constants, which are permuted once and for all), ``dims`` its dimensions as the graph has
    them before it is rewritten.
    """

    value: Value
    weight: int
    dims: tuple[Dim, ...]
    readers: list[Reader] = attrs.field(factory=list)

    def key(self, perm: Perm) -> Perm:
        """Equal for orders that do not differ in memory."""
        return moving(perm, self.dims)

    @property
    def tiers(self) -> tuple[tuple[Callable[[Perm], Perm], int], ...]:
        """What two orders must agree in, and what each further one costs: in memory, bytes; in everything, a layer."""
        return ((self.key, self.weight << LAYER_BITS), (_whole, 1))


@attrs.define(slots=True, eq=False)
class Problem:
    """A graph's roots, the rules of its layers, and how each layer works at present (as it is, when it is not in ``choice``)."""

    graph: Graph
    rules: Mapping[str, LayoutRule]
    nominal: int
    roots: dict[Value, Root] = attrs.field(factory=dict)
    origin: dict[Value, tuple[Root, Perm]] = attrs.field(factory=dict)
    choice: dict[Node, Carried] = attrs.field(factory=dict)
    _carried: dict[tuple[Node, Slot, Perm], Carried | None] = attrs.field(factory=dict)
    _unchanged: dict[Node, Carried] = attrs.field(factory=dict)

    @classmethod
    def of(cls, graph: Graph, rules: Mapping[str, LayoutRule], nominal: int) -> Problem:
        """The problem of ``graph``; an unknown dimension counts as ``nominal``."""
        problem = cls(graph, rules, nominal)
        for value in graph.inputs:
            problem._add_root(value)
        for node in graph:
            problem._add_node(node)
        for index, value in enumerate(graph.outputs):
            problem._read(value, None, index)
        return problem

    def _add_node(self, node: Node) -> None:
        if node.op == TRANSPOSE:
            perm = node.attrs["perm"]
            assert isinstance(perm, tuple)
            root, order = self.origin[node.inputs[0]]
            self.origin[node.outputs[0]] = (root, compose(order, perm))
            return
        for index, value in enumerate(node.inputs):
            self._read(value, node, index)
        for value in node.outputs:
            self._add_root(value)

    def _add_root(self, value: Value) -> None:
        weight = 0 if constant_of(value) is not None else weigh(value, self.nominal)
        root = Root(value, weight, value.shape.known())
        self.roots[value] = root
        self.origin[value] = (root, identity(len(value.shape)))

    def _read(self, value: Value, node: Node | None, index: int) -> None:
        root, perm = self.origin[value]
        root.readers.append(Reader(node, index, perm))

    # -- how layers work ---------------------------------------------------------------------------------------------

    def carry(self, node: Node, slot: Slot, perm: Perm) -> Carried | None:
        """What the rule of ``node`` says of order ``perm`` at ``slot``; None without a rule."""
        key = (node, slot, perm)
        if key not in self._carried:
            rule = self.rules.get(node.op)
            self._carried[key] = None if rule is None else checked(rule, node, slot, perm)
        return self._carried[key]

    def works(self, node: Node, choice: Mapping[Node, Carried] | None = None) -> Carried:
        """How ``node`` works under ``choice`` (the present one by default)."""
        found = (self.choice if choice is None else choice).get(node)
        if found is None:
            if node not in self._unchanged:
                self._unchanged[node] = unchanged(node)
            found = self._unchanged[node]
        return found

    def made(self, root: Root, choice: Mapping[Node, Carried] | None = None) -> Perm:
        """The order in which ``root`` is produced."""
        producer = root.value.producer
        if producer is None:
            return identity(len(root.value.shape))
        return self.works(producer, choice).outputs[root.value.index]

    def wanted(self, reader: Reader, choice: Mapping[Node, Carried] | None = None) -> Perm:
        """The order in which ``reader`` wants its root."""
        if reader.node is None:
            return reader.perm
        return compose(reader.perm, self.works(reader.node, choice).inputs[reader.index])

    # -- cost --------------------------------------------------------------------------------------------------------

    def cost(self, root: Root, choice: Mapping[Node, Carried] | None = None) -> int:
        """What it costs that readers of ``root`` want other orders than it is made in: bytes and layers (see LAYER_BITS)."""
        if not root.weight or not root.readers:
            return 0
        made = self.made(root, choice)
        wanted = {self.wanted(r, choice) for r in root.readers}
        if wanted == {made}:
            return 0
        return sum(weight * len({key(w) for w in wanted} - {key(made)}) for key, weight in root.tiers)


def _whole(perm: Perm) -> Perm:
    return perm


def weigh(value: Value, nominal: int) -> int:
    """The bytes of ``value``, each unknown dimension counted as ``nominal``; at least 1."""
    total = value.dtype.size
    for dim in value.shape.known():
        total *= nominal if dim is None else dim
    return max(total, 1)


def permuted_bytes(graph: Graph, nominal: int = 8) -> int:
    """The bytes that the transposes of ``graph`` move: those whose data change places, each unknown dimension as ``nominal``."""
    total = 0
    for node in graph:
        if node.op == TRANSPOSE and constant_of(node.inputs[0]) is None:
            perm, dims = node.attrs["perm"], node.inputs[0].shape.known()
            assert isinstance(perm, tuple)
            order = moving(perm, dims)
            total += weigh(node.inputs[0], nominal) if order != tuple(sorted(order)) else 0
    return total
