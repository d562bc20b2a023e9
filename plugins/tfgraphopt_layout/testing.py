"""A one-line contract for layout rules.

test_rule = layout_rule_contract(RULE, SOFT_CAP, CASES)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tfgraphopt.ir import Node
from tfgraphopt.testing.compare import assert_same
from tfgraphopt.testing.contracts import EXAMPLES, Test, law
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, checked
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.testing import Array, LayerCase


def layout_rule_contract(
    rule: LayoutRule, layer: LayerDef, cases: st.SearchStrategy[LayerCase], *, rtol: float = 1e-5, atol: float = 1e-6,
    examples: int = EXAMPLES, others: Sequence[LayerDef] = (),
) -> Test:  # fmt: skip
    """A test of a layout rule: the changed layer on permuted operands computes the permuted results.

    ``others`` are the layers that the rule may make of ``layer``.

    Operands and results of rank two and more are asked about, for permutations that hypothesis draws; the rule must let some
    other than the identity through.
    """
    passed: list[Carried] = []
    made_of = {other.op: other for other in others}

    def check(data: st.DataObject) -> None:
        case = data.draw(cases, "case")
        node = case.node(layer)
        slots = _slots(node)
        if not slots:
            return
        slot = data.draw(st.sampled_from(slots), "slot")
        rank = len((node.outputs if slot.result else node.inputs)[slot.index].shape)
        perm = tuple(data.draw(st.permutations(range(rank)), "permutation"))
        carried = checked(rule, node, slot, perm)
        if carried is None or carried.scramble is not None:  # what a scramble means only its readers know
            return
        assert (carried.outputs if slot.result else carried.inputs)[slot.index] == perm, (
            "the rule answers another question"
        )
        if perm != tuple(range(rank)):
            passed.append(carried)
        wanted = _compute(layer, node, case.arrays)
        becomes = made_of.get(carried.op, layer)
        found = _compute(becomes, node, _permuted(carried, case.arrays), carried)
        expected = [w.transpose(p) for w, p in zip(wanted, carried.outputs, strict=True)]
        assert_same(_named(expected), _named(found), rtol=rtol, atol=atol)

    checked_law = law(check, st.data(), examples)

    def test() -> None:
        checked_law()
        assert passed, f"the rule of {', '.join(rule.ops)} lets no permutation through"

    return test


def _slots(node: Node) -> list[Slot]:
    operands = [Slot(i) for i, v in enumerate(node.inputs) if len(v.shape) > 1]
    return operands + [Slot(i, True) for i, v in enumerate(node.outputs) if len(v.shape) > 1]


def _permuted(carried: Carried, arrays: Sequence[Array]) -> list[Array]:
    laid = [a.transpose(p) for a, p in zip(arrays, carried.inputs, strict=True)]
    return [a[list(carried.lists[i])] if i in carried.lists else a for i, a in enumerate(laid)]


def _compute(layer: LayerDef, node: Node, arrays: Sequence[Array], carried: Carried | None = None) -> list[Array]:
    import tensorflow as tf

    attributes = carried.attributes(node) if carried else node.attrs
    tensors = [tf.constant(np.ascontiguousarray(a)) for a in arrays]
    results = [np.asarray(r.numpy()) for r in layer.meaning(tf, tensors, attributes)]
    return [r[list(carried.listed)] for r in results] if carried and carried.listed is not None else results


def _named(arrays: Sequence[Array]) -> dict[str, Array]:
    return {f"result {i}": a for i, a in enumerate(arrays)}
