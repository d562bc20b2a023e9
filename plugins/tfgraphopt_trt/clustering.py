"""Which supported nodes may become one segment: near-linear, deterministic, acyclic by construction.

Every node gets a level that never falls along an edge (data or control) and rises whenever an edge crosses between different
labels (unsupported is a label of its own, and so is each device). Connected supported nodes of one level and label can join
without any cycle check: a path that leaves them and comes back would have to fall. Earliest and latest levels are both tried; the
few segments that remain are then merged pairwise where no outside path connects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from tfgraphopt.ir import Graph, Node

Label = str | None


def clusters(graph: Graph, label: Mapping[Node, Label], free: Callable[[Node], bool]) -> list[list[Node]]:
    """The segments of ``graph``, each in graph order, ordered by first node.

    Args:
        label: per node the group it may join others of, or None for a node that stays outside.
        free: nodes that belong to no segment and order nothing (constants): readers copy them.
    """
    nodes = [n for n in graph if not free(n)]
    before = {n: _sources(n, free) for n in nodes}
    after: dict[Node, list[Node]] = {n: [] for n in nodes}
    for node, sources in before.items():
        for source in sources:
            after[source].append(node)
    candidates = [
        _components(nodes, before, label, _levels(nodes, before, label)),
        _components(nodes, before, label, _levels(nodes[::-1], after, label)),
    ]
    best = min(candidates, key=len)
    return _merge_pairs(best, nodes, before, after, label)


def _sources(node: Node, free: Callable[[Node], bool]) -> list[Node]:
    every = [*(v.producer for v in node.inputs), *node.control]
    return list(dict.fromkeys(s for s in every if s is not None and not free(s)))


def _levels(
    nodes: Iterable[Node], before: Mapping[Node, Sequence[Node]], label: Mapping[Node, Label]
) -> dict[Node, int]:
    levels: dict[Node, int] = {}
    for node in nodes:
        levels[node] = max((levels[s] + (label[s] != label[node]) for s in before[node]), default=0)
    return levels


def _components(
    nodes: Sequence[Node],
    before: Mapping[Node, Sequence[Node]],
    label: Mapping[Node, Label],
    levels: Mapping[Node, int],
) -> list[list[Node]]:
    parent = {n: n for n in nodes if label[n] is not None}
    for node in parent:
        for source in before[node]:
            if label[source] == label[node] and levels[source] == levels[node]:
                _union(parent, source, node)
    groups: dict[Node, list[Node]] = {}
    for node in parent:
        groups.setdefault(_find(parent, node), []).append(node)
    return list(groups.values())


def _find(parent: dict[Node, Node], node: Node) -> Node:
    while parent[node] is not node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _union(parent: dict[Node, Node], one: Node, two: Node) -> None:
    parent[_find(parent, two)] = _find(parent, one)


def _merge_pairs(
    groups: list[list[Node]], nodes: Sequence[Node], before: Mapping[Node, Sequence[Node]],
    after: Mapping[Node, Sequence[Node]], label: Mapping[Node, Label],
) -> list[list[Node]]:  # fmt: skip
    """Merge segments that touch (an edge, or a common operand) where no path through outside nodes joins them."""
    position = {n: i for i, n in enumerate(nodes)}
    group_of = {n: i for i, group in enumerate(groups) for n in group}
    span = _Span.of(groups, position)
    for one, two in _touching(group_of, before):
        a, b = group_of[one], group_of[two]
        if a == b or label[groups[a][0]] != label[groups[b][0]]:
            continue
        if not _outside_path({a, b}, groups, group_of, after, span):
            groups[a] = sorted(groups[a] + groups[b], key=position.__getitem__)
            groups[b] = []
            group_of.update((n, a) for n in groups[a])
            span = _Span.of(groups, position)
    return sorted((g for g in groups if g), key=lambda g: position[g[0]])


@attrs.frozen(slots=True)
class _Span:
    """Where a path can still come back to: edges only lead forward, and through a group only back to its first member."""

    position: Mapping[Node, int]
    least: Sequence[int]
    """Per position, the first position that a path from there may reach through groups."""

    @classmethod
    def of(cls, groups: Iterable[Sequence[Node]], position: Mapping[Node, int]) -> _Span:
        back = list(range(len(position) + 1))
        for group in groups:
            if group:
                back[position[group[-1]]] = min(back[position[group[-1]]], position[group[0]])
        for index in range(len(position) - 1, -1, -1):
            back[index] = min(back[index], back[index + 1])
        for index, first in enumerate(back):
            back[index] = index if first >= index else back[first]
        return cls(position, back)

    def is_behind(self, node: Node, last: int) -> bool:
        """Whether no path from ``node`` comes back to ``last`` or before."""
        return self.least[self.position[node]] > last


def _touching(group_of: Mapping[Node, int], before: Mapping[Node, Sequence[Node]]) -> list[tuple[Node, Node]]:
    pairs: dict[tuple[int, int], tuple[Node, Node]] = {}
    reader: dict[Node, Node] = {}
    for node in before:
        if node not in group_of:
            continue
        for source in before[node]:
            other = source if source in group_of else reader.setdefault(source, node)
            key = (group_of[other], group_of[node])
            if key[0] != key[1]:
                pairs.setdefault(key, (other, node))
    return list(pairs.values())


def _outside_path(
    joined: set[int], groups: Sequence[Sequence[Node]], group_of: Mapping[Node, int],
    after: Mapping[Node, Sequence[Node]], span: _Span,
) -> bool:  # fmt: skip
    """Whether some path leaves the ``joined`` groups and comes back; another group counts as one node, as it will be."""
    last = max(span.position[groups[g][-1]] for g in joined)
    stack = [user for g in joined for n in groups[g] for user in after[n] if group_of.get(user) not in joined]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if span.is_behind(node, last):
            continue
        group = group_of.get(node)
        for member in (node,) if group is None else groups[group]:
            for user in after[member]:
                if group_of.get(user) in joined:
                    return True
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
    return False
