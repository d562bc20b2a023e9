"""The law of a layout rule: the changed layer on permuted operands computes the permuted results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgraphopt.ir import Node
from tfgraphopt_layout.permutations import Perm
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, checked
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import layer_map

Array = np.ndarray[Any, Any]
LAYERS = layer_map()
TOLERANCE = {"float32": 3e-5, "float16": 1e-2, "bfloat16": 5e-2}


def run(
    node: Node, arrays: Sequence[Array], carried: Carried | None = None, layers: Mapping[str, LayerDef] = LAYERS
) -> list[Array]:
    """The results of the layer of ``node``, or of what ``carried`` makes of it."""
    tensors = [tf.constant(a, dtype=v.dtype.tf_name) for a, v in zip(arrays, node.inputs, strict=True)]
    op, attributes = (carried.op or node.op, carried.attributes(node)) if carried else (node.op, node.attrs)
    return [np.asarray(r.numpy()) for r in layers[op].meaning(tf, tensors, attributes)]


def permuted_operands(carried: Carried, arrays: Sequence[Array]) -> list[Array]:
    """The operands in the orders, and the lists with their entries in the order, that ``carried`` says."""
    laid = [a.transpose(p) for a, p in zip(arrays, carried.inputs, strict=True)]
    return [a[list(carried.lists[i])] if i in carried.lists else a for i, a in enumerate(laid)]


def check(node: Node, carried: Carried, arrays: Sequence[Array], layers: Mapping[str, LayerDef] = LAYERS) -> None:
    """The law, and that the orders are of the right ranks."""
    assert [len(p) for p in carried.inputs] == [len(v.shape) for v in node.inputs]
    assert [len(p) for p in carried.outputs] == [len(v.shape) for v in node.outputs]
    wanted = run(node, arrays, None, layers)
    found = run(node, permuted_operands(carried, arrays), carried, layers)
    for want, have, perm in zip(wanted, found, carried.outputs, strict=True):
        assert have.dtype == want.dtype
        result = have[list(carried.listed)] if carried.listed is not None else have
        compare(result, want.transpose(perm))


def compare(found: Array, wanted: Array) -> None:
    """Equal up to the rounding of sums in another order."""
    assert found.shape == wanted.shape
    tolerance = TOLERANCE.get(found.dtype.name, 0.0)
    np.testing.assert_allclose(
        found.astype(np.float64), wanted.astype(np.float64), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def slots(node: Node) -> list[Slot]:
    """Every operand and result that has axes to permute."""
    operands = [Slot(i) for i, v in enumerate(node.inputs) if len(v.shape) > 1]
    return operands + [Slot(i, True) for i, v in enumerate(node.outputs) if len(v.shape) > 1]


def rank_at(node: Node, slot: Slot) -> int:
    """The rank of the tensor at ``slot``."""
    return len((node.outputs if slot.result else node.inputs)[slot.index].shape)


def carry(rules: Mapping[str, LayoutRule], node: Node, slot: Slot, perm: Perm) -> Carried | None:
    """What the rule of ``node`` says, with the orders that it was asked for checked."""
    carried = checked(rules[node.op], node, slot, perm)
    if carried is not None:
        assert (carried.outputs if slot.result else carried.inputs)[slot.index] == perm
    return carried
