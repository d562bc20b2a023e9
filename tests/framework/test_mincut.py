"""Minimum cuts against brute force."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.mincut import Cut

EDGES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9)), max_size=18)


@settings(max_examples=200, deadline=None)
@given(EDGES)
def test_the_sink_side_is_the_smallest_of_least_cost(edges: list[tuple[int, int, int]]) -> None:
    cut = Cut()
    for _ in range(5):
        cut.node()
    real = [e for e in edges if e[0] != e[1]]
    for start, end, capacity in real:
        cut.edge(start, end, capacity)

    def cost(sink: frozenset[int]) -> int:
        return sum(c for a, b, c in real if a not in sink and b in sink)

    sides = [frozenset({1, *s}) for n in range(6) for s in itertools.combinations(range(2, 7), n)]
    least = min(map(cost, sides))
    best = min((s for s in sides if cost(s) == least), key=len)
    assert cut.sink_side() == best
