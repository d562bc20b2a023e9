"""Proposals: for every layer that a wanted order reaches, how it would work if it gave in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import attrs

from tfgraphopt.ir import Node
from tfgraphopt_layout.permutations import Perm, between, compose
from tfgraphopt_layout.problem import Problem, Reader, Root
from tfgraphopt_layout.rules import Carried, Slot

Seed = tuple[Root, Perm]
"""A root and an order in which everything around it should have it."""


def backward_seeds(problem: Problem) -> Iterator[Seed]:
    """Every root that is permuted, in an order that a reader wants, when its producer or another reader may give in to that."""
    for root in problem.roots.values():
        if problem.cost(root):
            seed = _demanded(problem, root)
            if seed is not None and (_makes(problem, *seed) or _takes(problem, *seed)):
                yield seed


def forward_seeds(problem: Problem) -> Iterator[Seed]:
    """Every root that is permuted, in the order in which it is made, when some reader may give in to that."""
    for root in problem.roots.values():
        if problem.cost(root):
            made = problem.made(root)
            if _takes(problem, root, made):
                yield root, made


def single_seeds(problem: Problem) -> list[Seed]:
    """For each root that is permuted, the dearest first, the order that it is made in and all that are wanted."""
    costly = [(problem.cost(root), i, root) for i, root in enumerate(problem.roots.values())]
    found: list[Seed] = []
    for _, _, root in sorted((c for c in costly if c[0]), key=lambda c: (-c[0], c[1])):
        orders = [problem.made(root), *(problem.wanted(r) for r in root.readers)]
        found += [(root, perm) for perm in dict.fromkeys(orders)]
    return found


def _demanded(problem: Problem, root: Root) -> Seed | None:
    """An order that a reader wants and the producer does not make, of a reader that cannot give in if there is any."""
    made = problem.made(root)
    wishes = [(_accepts(problem, r, made), i, problem.wanted(r)) for i, r in enumerate(root.readers)]
    others = [w for w in wishes if w[2] != made]
    return (root, min(others)[2]) if others else None


def _makes(problem: Problem, root: Root, perm: Perm) -> bool:
    """Whether the producer of ``root`` could make it in order ``perm``."""
    producer = root.value.producer
    return producer is not None and problem.carry(producer, Slot(root.value.index, True), perm) is not None


def _takes(problem: Problem, root: Root, perm: Perm) -> bool:
    """Whether a reader of ``root`` that wants another order could take ``perm``."""
    return any(problem.wanted(r) != perm and _accepts(problem, r, perm) for r in root.readers)


def _accepts(problem: Problem, reader: Reader, perm: Perm) -> bool:
    if reader.node is None:
        return reader.perm == perm
    return problem.carry(reader.node, Slot(reader.index), between(reader.perm, perm)) is not None


def spread(problem: Problem, seeds: Iterable[Seed]) -> dict[Node, Carried]:
    """How each layer would work that the seeds reach, the nearest seed first; linear in the size of the graph."""
    return _Spreading(problem).run(seeds)


@attrs.define(slots=True)
class _Spreading:
    problem: Problem
    proposed: dict[Node, Carried] = attrs.field(factory=dict)
    _seen: dict[Root, Perm] = attrs.field(factory=dict)
    _queue: deque[Seed] = attrs.field(factory=deque)

    def run(self, seeds: Iterable[Seed]) -> dict[Node, Carried]:
        for root, perm in seeds:
            self._reach(root, perm)
        while self._queue:
            root, perm = self._queue.popleft()
            producer = root.value.producer
            if producer is not None:
                self._propose(producer, Slot(root.value.index, True), perm)
            for reader in root.readers:
                self._propose_reader(reader, perm)
        return {n: c for n, c in self.proposed.items() if c != self.problem.works(n)}

    def _reach(self, root: Root, perm: Perm) -> None:
        if root.weight and root not in self._seen:
            self._seen[root] = perm
            self._queue.append((root, perm))

    def _propose_reader(self, reader: Reader, perm: Perm) -> None:
        if reader.node is not None:
            self._propose(reader.node, Slot(reader.index), between(reader.perm, perm))

    def _propose(self, node: Node, slot: Slot, perm: Perm) -> None:
        if node in self.proposed:
            return
        carried = self.problem.carry(node, slot, perm)
        if carried is None:
            return
        self.proposed[node] = carried
        for value, order in zip(node.inputs, carried.inputs, strict=True):
            root, way = self.problem.origin[value]
            self._reach(root, compose(way, order))
        for value, order in zip(node.outputs, carried.outputs, strict=True):
            self._reach(self.problem.roots[value], order)
