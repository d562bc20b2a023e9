"""Graphs that nodes own: what a loop repeats, the branches of a conditional."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgraphopt.ir.core import Graph, Node


class Body:
    """A graph as the attribute of a node.

    It is printed, packed, verified and fingerprinted with the node. Bodies are values: equal when their graphs are, names included,
    so the graph must not be changed once it is in one. A pass that wants another body makes a new one and sets the attribute.
    """

    __slots__ = ("_digest", "graph")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._digest = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the graph and its constants."""
        if not self._digest:
            from tfgraphopt.ir.pack import fingerprint

            self._digest = fingerprint(self.graph)
        return self._digest

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Body) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Body {self.graph.name!r} of {len(self.graph)} nodes>"


def bodies_in(value: object) -> Iterator[Graph]:
    """The graphs that an attribute value holds."""
    if isinstance(value, tuple):
        for item in value:
            yield from bodies_in(item)
    elif isinstance(value, Body):
        yield value.graph


def bodies_of(node: Node) -> Iterator[Graph]:
    """The graphs that ``node`` owns."""
    for value in node.attrs.values():
        yield from bodies_in(value)


def nodes_within(graph: Graph) -> Iterator[Node]:
    """Every node of ``graph`` and, behind each, of the bodies that it owns, over any number of levels."""
    for node in graph:
        yield node
        for body in bodies_of(node):
            yield from nodes_within(body)
