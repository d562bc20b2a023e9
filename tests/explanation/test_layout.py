"""The layout: laws on random graphs, and isotonic regression against scikit-learn's."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from tfgraphopt.explanation.layout import COLUMN, ROW, _isotonic, layered


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[bool]]:
    """Directed acyclic graphs in topological order, some of whose sources are drawn small."""
    count = draw(st.integers(1, 30))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = draw(st.lists(pair.filter(lambda e: e[0] < e[1]), max_size=60, unique=True)) if count > 1 else []
    targets = {t for _, t in edges}
    small = [draw(st.booleans()) and i not in targets for i in range(count)]
    return count, edges, small


@given(graphs())
@settings(deadline=None)
def test_nodes_do_not_overlap(graph: tuple[int, list[tuple[int, int]], list[bool]]) -> None:
    count, edges, small = graph
    drawing = layered(count, edges, small)
    assert np.isfinite(drawing.x).all()
    assert np.isfinite(drawing.y).all()
    shown = [i for i in range(count) if not small[i]]
    places = sorted((round(drawing.y[i] / ROW), drawing.x[i]) for i in shown)
    for (row, left), (other, right) in itertools.pairwise(places):
        assert row != other or right - left >= COLUMN - 0.02


@given(graphs())
@settings(deadline=None)
def test_edges_point_down_or_into_a_later_column(graph: tuple[int, list[tuple[int, int]], list[bool]]) -> None:
    count, edges, small = graph
    drawing = layered(count, edges, small)
    for source, target in edges:
        if not small[source]:
            assert drawing.y[target] > drawing.y[source] or drawing.x[target] > drawing.x[source]


@given(graphs())
@settings(deadline=None, max_examples=20)
def test_equal_graphs_are_laid_out_equally(graph: tuple[int, list[tuple[int, int]], list[bool]]) -> None:
    one, two = layered(*graph), layered(*graph)
    assert (one.x == two.x).all()
    assert (one.y == two.y).all()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
@settings(deadline=None)
def test_positions_are_those_of_isotonic_regression(values: list[float]) -> None:
    np.testing.assert_allclose(_isotonic(values), isotonic_regression(values), atol=1e-9)


def test_a_long_chain_is_folded_to_the_shape_of_a_page() -> None:
    drawing = layered(2000, [(i, i + 1) for i in range(1999)], aspect=1.7)
    width, height = np.ptp(drawing.x), np.ptp(drawing.y)
    assert 1.2 < width / height < 2.4


def test_siblings_are_centred_below_their_parent() -> None:
    drawing = layered(4, [(0, 1), (0, 2), (1, 3), (2, 3)])
    assert drawing.x[0] == drawing.x[3] == (drawing.x[1] + drawing.x[2]) / 2


def test_what_is_computed_from_constants_sits_above_its_reader() -> None:
    chain = [(i, i + 1) for i in range(20)]  # an input and twenty nodes
    constants = [(21, 22), (22, 23), (23, 20)]  # a constant, two nodes that fold it, and the last of the twenty
    order = {i: i for i in range(20)} | {21: 20, 22: 21, 23: 22, 20: 23}
    edges = [(order[a], order[b]) for a, b in chain + constants]
    drawing = layered(24, edges, [i == order[21] for i in range(24)], aspect=0.01)
    assert drawing.y[order[23]] == drawing.y[order[20]] - ROW
    assert drawing.y[order[22]] == drawing.y[order[20]] - 2 * ROW
