"""Positions for the nodes of a directed acyclic graph: layers from top to bottom, folded into columns so that a page is filled.

The layered method of Sugiyama, Tagawa and Toda (1981) without dummy nodes: layers by longest path, then rounds in which every node
moves to the mean of its neighbours and every layer is made free of overlaps by isotonic regression (pool adjacent violators), which
gives the positions nearest to the wanted ones. Near-linear: 30,000 nodes take about a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLUMN, ROW = 7.5, 3.4
"""Distances of neighbours in a layer, and of layers, in the unit of the page (a node's box is 6 by 1.6)."""
GAP = 3 * COLUMN
"""Between the columns that layers are folded into."""
ROUNDS = 24


@attrs.frozen(slots=True)
class Drawing:
    """Positions: ``x`` to the right, ``y`` downwards, one per node."""

    x: Floats
    y: Floats


def layered(count: int, edges: Sequence[tuple[int, int]], beside: Sequence[bool] = (), aspect: float = 1.7) -> Drawing:
    """Lay out nodes 0 to ``count - 1``, which are in topological order.

    Args:
        edges: (from, to) pairs; those that go backwards (loops) order nothing.
        beside: nodes (constants) that take no room of their own but sit at the corner of their first reader.
        aspect: wanted width over height of the whole.
    """
    small = np.zeros(count, bool) if not len(beside) else np.asarray(beside, bool)
    pairs = np.asarray([e for e in edges if e[0] < e[1]], np.int64).reshape(-1, 2)
    main = pairs[~small[pairs[:, 0]] & ~small[pairs[:, 1]]]
    layer = _layers(count, main, small, pairs)
    x = _columns(layer, main, small)
    x, y = _folded(x, layer, main, small, aspect)
    _put_beside(x, y, pairs, small)
    return Drawing(np.round(x, 2), np.round(y, 2))


def _layers(count: int, edges: Ints, small: npt.NDArray[np.bool_], every: Ints) -> Ints:
    """Longest path from the sources; what is computed from constants alone is then pulled down to its first reader."""
    layer = [0] * count
    for source, target in sorted(map(tuple, edges.tolist()), key=lambda e: e[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    fixed = _depends_on_inputs(count, edges, small, every)
    first = [count] * count
    pulled = list(layer)
    for source, target in sorted(map(tuple, edges.tolist()), key=lambda e: -e[0]):
        first[source] = min(first[source], pulled[target] - 1)
        if not fixed[source]:
            pulled[source] = max(layer[source], first[source])
    dense = np.asarray(pulled, np.int64)
    dense[~small] = np.unique(dense[~small], return_inverse=True)[1].reshape(-1)  # no layer is left empty
    dense[small] = 0
    return dense


def _depends_on_inputs(count: int, edges: Ints, small: npt.NDArray[np.bool_], every: Ints) -> list[bool]:
    """Which nodes are computed from an input: a node that reads nothing and is no constant."""
    reads = np.zeros(count, bool)
    reads[every[:, 1]] = True
    fixed: list[bool] = (~reads & ~small).tolist()
    for source, target in sorted(map(tuple, edges.tolist()), key=lambda e: e[1]):
        fixed[target] = fixed[target] or fixed[source]
    return fixed


def _columns(layer: Ints, edges: Ints, small: npt.NDArray[np.bool_]) -> Floats:
    """Horizontal positions in units of :data:`COLUMN`."""
    count = len(layer)
    x = np.zeros(count)
    shown = np.flatnonzero(~small)
    if not len(shown):
        return x
    x[shown] = _centred(layer[shown])
    if not len(edges):
        return x
    source, target = edges[:, 0], edges[:, 1]
    weight = 1.0 / np.maximum(1, layer[target] - layer[source])
    for number in range(ROUNDS):
        sums, total = np.zeros(count), np.zeros(count)
        for here, there in _directions(source, target, number):
            np.add.at(sums, here, weight * x[there])
            np.add.at(total, here, weight)
        wanted = np.where(total > 0, sums / np.maximum(total, 1e-12), x)
        x[shown] = _without_overlap(wanted[shown], layer[shown], x[shown])
    return x


def _centred(layer: Ints) -> Floats:
    """Nodes of a layer side by side in their order, the middle of every layer at 0."""
    order = np.argsort(layer, kind="stable")
    sizes = np.bincount(layer)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    x = np.empty(len(layer))
    x[order] = np.arange(len(layer)) - starts[layer[order]] - (sizes[layer[order]] - 1) / 2
    return x


def _directions(source: Ints, target: Ints, number: int) -> list[tuple[Ints, Ints]]:
    """Sweeps look up, then down, then (to straighten) both ways."""
    if number >= ROUNDS // 2:
        return [(source, target), (target, source)]
    return [(target, source)] if number % 2 == 0 else [(source, target)]


def _without_overlap(wanted: Floats, layer: Ints, now: Floats) -> Floats:
    """The nearest positions (least squares) at which nodes of a layer, in the order of ``wanted``, are 1 apart."""
    order = np.lexsort((now, np.round(wanted, 6), layer))
    ranks = np.arange(len(order))
    far = 4.0 * (len(order) + float(np.abs(wanted).max(initial=0.0)))  # between layers: they never push each other
    shifted = wanted[order] - ranks + far * layer[order]
    x = np.empty(len(order))
    x[order] = _isotonic(shifted.tolist()) + ranks - far * layer[order]
    return x


def _isotonic(values: list[float]) -> Floats:
    """The non-falling sequence nearest to ``values`` in least squares, by pooling adjacent violators."""
    means: list[float] = []
    sizes: list[int] = []
    for value in values:
        mean, size = value, 1
        while means and means[-1] > mean:
            other, weight = means.pop(), sizes.pop()
            mean, size = (other * weight + mean * size) / (weight + size), weight + size
        means.append(mean)
        sizes.append(size)
    return np.repeat(means, sizes)


# -- folding -------------------------------------------------------------------------------------------------------------


def _folded(x: Floats, layer: Ints, edges: Ints, small: npt.NDArray[np.bool_], aspect: float) -> tuple[Floats, Floats]:
    """Break the layers into columns that stand side by side, at layers that few edges cross."""
    shown = ~small
    if not shown.any():
        return x, np.zeros(len(x))
    height = int(layer[shown].max(initial=0)) + 1
    low, high = np.full(height, np.inf), np.full(height, -np.inf)
    np.minimum.at(low, layer[shown], x[shown])
    np.maximum.at(high, layer[shown], x[shown])
    crossing = _crossings(layer, edges, height)
    candidates = [_breaks(height, count, crossing) for count in range(1, min(64, height) + 1)]
    starts = min(candidates, key=lambda s: _misfit(s, low, high, height, aspect))
    column = np.searchsorted(starts, layer, side="right") - 1
    left = np.zeros(len(starts))
    at = 0.0
    for index, (begin, end) in enumerate(zip(starts, [*starts[1:], height], strict=True)):
        left[index] = at - COLUMN * low[begin:end].min()
        at += COLUMN * (high[begin:end].max() - low[begin:end].min()) + GAP
    return COLUMN * x + left[column], ROW * (layer - np.asarray(starts)[column]).astype(float)


def _crossings(layer: Ints, edges: Ints, height: int) -> Ints:
    """How many edges go from above each layer to it or below."""
    change = np.zeros(height + 1, np.int64)
    np.add.at(change, layer[edges[:, 0]] + 1, 1)
    np.add.at(change, layer[edges[:, 1]] + 1, -1)
    return np.cumsum(change)[:height]


def _breaks(height: int, columns: int, crossing: Ints) -> list[int]:
    """The first layer of every column: nearly equal parts, each break moved to the least crossed layer around it."""
    size = height / columns
    slack = max(0, int(size / 6))
    starts = [0]
    for index in range(1, columns):
        middle = round(index * size)
        begin = max(starts[-1] + 1, middle - slack)
        end = max(begin + 1, min(height, middle + slack + 1))
        if begin >= height:
            break
        starts.append(begin + int(np.argmin(crossing[begin:end])))
    return starts


def _misfit(starts: Sequence[int], low: Floats, high: Floats, height: int, aspect: float) -> float:
    ends = [*starts[1:], height]
    widths = [COLUMN * (high[b:e].max() - low[b:e].min()) + GAP for b, e in zip(starts, ends, strict=True)]
    tallest = ROW * max(e - b for b, e in zip(starts, ends, strict=True))
    return abs(float(np.log(sum(widths) / max(tallest, ROW) / aspect)))


def _put_beside(x: Floats, y: Floats, edges: Ints, small: npt.NDArray[np.bool_]) -> None:
    """Small nodes go to the upper left of their first reader, several of one reader in a row; readerless ones on top."""
    reader: dict[int, int] = {}
    for source, target in edges.tolist():
        if small[source] and not small[target]:
            reader.setdefault(source, target)
    taken: dict[int, int] = {}
    for node in np.flatnonzero(small).tolist():
        at = reader.get(node, -1)
        index = taken[at] = taken.get(at, -1) + 1
        base_x, base_y = (x[at], y[at]) if at >= 0 else (0.0, -2 * ROW)
        x[node], y[node] = base_x - 2.6 + 0.9 * index, base_y - 1.35
