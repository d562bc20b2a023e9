"""Minimum cuts (Dinic 1970), and the least change among those of least cost."""

from __future__ import annotations

from collections import deque


class Cut:
    """A flow network between a source, node 0, and a sink, node 1."""

    SOURCE = 0
    SINK = 1

    def __init__(self) -> None:
        self._edges: list[list[int]] = [[], []]
        self._to: list[int] = []
        self._room: list[int] = []

    def node(self) -> int:
        """A new node."""
        self._edges.append([])
        return len(self._edges) - 1

    def edge(self, start: int, end: int, capacity: int) -> None:
        """Cutting ``start`` (source side) from ``end`` (sink side) costs ``capacity``."""
        for a, b, room in ((start, end, capacity), (end, start, 0)):
            self._edges[a].append(len(self._to))
            self._to.append(b)
            self._room.append(room)

    def sink_side(self) -> set[int]:
        """The smallest sink side of a minimum cut."""
        while True:
            level = self._levels()
            if level[self.SINK] < 0:
                return self._reaching_sink()
            cursor = [0] * len(self._edges)
            while self._augment(level, cursor):
                pass

    def _levels(self) -> list[int]:
        level = [-1] * len(self._edges)
        level[self.SOURCE] = 0
        queue = deque([self.SOURCE])
        while queue:
            node = queue.popleft()
            for edge in self._edges[node]:
                other = self._to[edge]
                if self._room[edge] and level[other] < 0:
                    level[other] = level[node] + 1
                    queue.append(other)
        return level

    def _augment(self, level: list[int], cursor: list[int]) -> bool:
        """Send flow along one shortest path that has room."""
        path: list[int] = []
        node = self.SOURCE
        while node != self.SINK:
            edge = self._next_edge(node, level, cursor)
            if edge is not None:
                path.append(edge)
                node = self._to[edge]
            elif not path:
                return False
            else:
                node = self._to[path.pop() ^ 1]
                cursor[node] += 1
        amount = min(self._room[e] for e in path)
        for edge in path:
            self._room[edge] -= amount
            self._room[edge ^ 1] += amount
        return True

    def _next_edge(self, node: int, level: list[int], cursor: list[int]) -> int | None:
        edges = self._edges[node]
        while cursor[node] < len(edges):
            edge = edges[cursor[node]]
            if self._room[edge] and level[self._to[edge]] == level[node] + 1:
                return edge
            cursor[node] += 1
        return None

    def _reaching_sink(self) -> set[int]:
        found = {self.SINK}
        queue = deque([self.SINK])
        while queue:
            node = queue.popleft()
            for edge in self._edges[node]:
                other = self._to[edge]
                if self._room[edge ^ 1] and other not in found:
                    found.add(other)
                    queue.append(other)
        return found
