"""Reshapes: groups of axes, and what may pass."""

from __future__ import annotations

import numpy as np
import pytest

from layout import laws
from tfgraphopt.ir import Dim, DType, Graph, Node, Shape, TensorType
from tfgraphopt_layout.rules import Slot
from tfgraphopt_layout.shipped import rule_map
from tfgraphopt_layout.shipped.reshaping import groups_of
from tfgraphopt_trt.layers import layer_table

RULES = rule_map()


def reshape(source: tuple[Dim, ...], dims: tuple[int, ...]) -> Node:
    """A reshape layer of a float tensor."""
    graph = Graph("reshape", layer_table(), dialect="trt")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape(source)))
    return graph.add("trt.reshape", [x], {"dims": dims})


@pytest.mark.parametrize(
    ("source", "dims", "expected"),
    [
        ((2, 6, 4), (12, 4), [((0, 1), (0,)), ((2,), (1,))]),
        ((2, 12), (2, 3, 4), [((0,), (0,)), ((1,), (1, 2))]),
        ((4, 6), (2, 12), [((0, 1), (0, 1))]),
        ((None, 1, 1, 8), (-1, 8), [((0,), (0,)), ((3,), (1,))]),
        ((None, 8), (0, 1, 1, 8), [((0,), (0,)), ((1,), (3,))]),
        ((None, 7, 7, 3), (-1, 147), [((0,), (0,)), ((1, 2, 3), (1,))]),
        ((None, None, 6), (0, 0, 2, 3), [((0,), (0,)), ((1,), (1,)), ((2,), (2, 3))]),
        ((None, None, 6), (0, -1, 3), None),
        ((None, 6), (-1, 3), None),
        ((None, 4, 6), (-1, 2, 2, 6), [((0,), (0,)), ((1,), (1, 2)), ((2,), (3,))]),
        ((2, 0), (2, 0), None),
    ],
)  # fmt: skip
def test_groups(
    source: tuple[Dim, ...], dims: tuple[int, ...], expected: list[tuple[tuple[int, ...], ...]] | None
) -> None:
    groups = groups_of(reshape(source, dims))
    assert (None if groups is None else [(g.sources, g.results) for g in groups]) == expected


def test_channel_shuffle_and_pixel_shuffle_pass() -> None:
    """Splitting the channels of N,H,W,C also works on N,C,H,W."""
    for dims in ((2, 4, 4, 3, 2), (2, 4, 4, 2, 3)):
        node = reshape((2, 4, 4, 6), dims)
        carried = laws.carry(RULES, node, Slot(0), (0, 3, 1, 2))
        assert carried is not None
        assert carried.outputs == ((0, 3, 4, 1, 2),)
        laws.check(node, carried, [np.arange(192, dtype=np.float32).reshape(2, 4, 4, 6)])


def test_a_torn_group_does_not_pass() -> None:
    assert laws.carry(RULES, reshape((2, 3, 4), (2, 12)), Slot(0), (0, 2, 1)) is None


def test_squeezed_excitation_moves_no_numbers() -> None:
    carried = laws.carry(RULES, reshape((None, 8), (-1, 1, 1, 8)), Slot(0, True), (0, 3, 1, 2))
    assert carried is not None
    assert carried.inputs == ((0, 1),)
    assert carried.changed == {"dims": (-1, 8, 1, 1)}
