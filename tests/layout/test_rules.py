"""Every shipped rule, at every operand and result of every layer, for every permutation."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trt_layers import cases, spatial_cases
from trt_layers.harness import Case

from layout import laws
from tfgraphopt.ir import Node
from tfgraphopt_layout.rules import Slot
from tfgraphopt_layout.shipped import rule_map

RULES = rule_map()


def _by_op() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = defaultdict(list)
    every = [*cases.ELEMENTWISE, *cases.LINEAR, *cases.LAYOUT, *cases.SELECTION, *spatial_cases.SPATIAL]
    for case in every:
        if case.op in RULES:
            found[case.op].append(case)
    return dict(found)


CASES = _by_op()
WITHOUT_RULE = {
    "trt.constant", "trt.transpose", "trt.grid_sample", "trt.non_zero", "trt.nms", "trt.linspace", "trt.loop", "trt.conditional",
}  # fmt: skip


def node_of(case: Case) -> Node:
    """The layer of a case."""
    return next(n for n in case.graph() if n.op == case.op)


def test_every_layer_has_a_rule_or_a_reason() -> None:
    assert set(RULES) == {op for op in laws.LAYERS if op not in WITHOUT_RULE}
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("op", sorted(CASES))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_layer_of_permuted_is_permuted_layer(op: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(CASES[op]), label="case")
    node = node_of(case)
    slots = laws.slots(node)
    if not slots:
        return
    slot = data.draw(st.sampled_from(slots))
    perm = tuple(data.draw(st.permutations(range(laws.rank_at(node, slot)))))
    carried = laws.carry(RULES, node, slot, perm)
    if carried is not None and carried.scramble is None:
        laws.check(node, carried, case.arrays)


ALL = {
    "trt.identity", "trt.cast", "trt.activation", "trt.unary", "trt.elementwise", "trt.select", "trt.softmax",
    "trt.concatenation", "trt.topk", "trt.cumulative", "trt.reduce", "trt.quantize", "trt.dequantize", "trt.slice",
    "trt.squeeze", "trt.unsqueeze", "trt.einsum", "trt.reverse_sequence", "trt.one_hot",
}  # fmt: skip
"""Layers through which any permutation of the first operand passes."""


@pytest.mark.parametrize("op", sorted(ALL))
def test_any_permutation_passes(op: str) -> None:
    node = next(n for n in map(node_of, CASES[op]) if len(n.inputs[0].shape) > 1)
    rank = len(node.inputs[0].shape)
    passed = [laws.carry(RULES, node, Slot(0), p) for p in itertools.permutations(range(rank))]
    assert None not in passed
    assert len(passed) == math.factorial(rank)


@pytest.mark.parametrize(
    ("op", "perm", "passes"),
    [
        ("trt.convolution", (0, 1, 3, 2), True),
        ("trt.convolution", (0, 2, 3, 1), False),
        ("trt.pooling", (1, 0, 2, 3), True),
        ("trt.pooling", (0, 2, 3, 1), False),
        ("trt.lrn", (3, 1, 0, 2), True),
        ("trt.lrn", (0, 2, 3, 1), False),
    ],
)  # fmt: skip
def test_windows_keep_their_channels(op: str, perm: tuple[int, ...], passes: bool) -> None:
    node = next(n for n in map(node_of, CASES[op]) if len(n.inputs[0].shape) == 4)
    assert (laws.carry(RULES, node, Slot(0), perm) is not None) is passes
