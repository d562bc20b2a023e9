"""Whether a segment is worth an engine: what its products compute, against what a call of an engine costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

LEAST = 4_000_000
"""Operations below which a call of an engine costs more than OpenVINO saves. Measured on two cores: convolutions break even at one
million, matrix products at four; segments with neither (chains of elementwise ops) were never faster.
"""


class NotWorthIt(Exception):
    """A segment that TensorFlow runs as fast; the text says why."""


def operations(model: Any) -> int | None:
    """The multiplications and additions of a model's convolutions and matrix products; None where shapes are not known."""
    total = 0
    for node in model.get_ordered_ops():
        count = _COUNTS.get(node.get_type_name())
        if count is not None:
            if any(p.get_partial_shape().is_dynamic for p in (*node.inputs(), *node.outputs())):
                return None
            total += 2 * count(node)
    return total


def objection(model: Any, least: int = LEAST) -> str | None:
    """Why a model of known shapes is not worth an engine, or None; with ``least`` 0 every one is."""
    count = operations(model)
    if count is None or count >= least:
        return None
    return (
        f"its convolutions and products take {count / 1e6:.2g} million operations at the usual shapes, {least / 1e6:g} million pay "
        "for the call of an engine (engine='openvino' builds it anyway)"
    )


def _shape(port: Any) -> list[int]:
    return [int(d) for d in port.get_shape()]


def _window(groups: int) -> Callable[[Any], int]:
    """Each result adds up one window; the kernel begins with ``groups`` axes that are no part of it."""
    return lambda node: math.prod(_shape(node.output(0))) * math.prod(_shape(node.input(1))[groups:])


def _backwards(groups: int) -> Callable[[Any], int]:
    """Each operand goes into one window of results."""
    return lambda node: math.prod(_shape(node.input(0))) * math.prod(_shape(node.input(1))[groups:])


def _product(node: Any) -> int:
    inner = _shape(node.input(0))[-2 if node.get_attributes()["transpose_a"] else -1]
    return math.prod(_shape(node.output(0))) * inner


_COUNTS: Mapping[str, Callable[[Any], int]] = {
    "Convolution": _window(1), "GroupConvolution": _window(2), "ConvolutionBackpropData": _backwards(1),
    "GroupConvolutionBackpropData": _backwards(2), "MatMul": _product,
}  # fmt: skip
