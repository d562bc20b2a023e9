"""What was decided of one lowered body, and what a report says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from tfgraphopt.ir import Value
from tfgraphopt_int8.sites import LayerPlan


@attrs.frozen(slots=True)
class TensorPlan:
    """The range of one activation.

    Attributes:
        tensor: the caller's tensor whose statistics hold for it; empty when none is known.
        amax: the magnitude that 127 stands for; None when the tensor stays in floating point, then ``reason`` says why.
        scale: the step.
        clipped: the share of its elements beyond ``amax`` on the calibration data.
    """

    tensor: str
    amax: float | None = None
    scale: float | None = None
    clipped: float = 0.0
    reason: str = ""


@attrs.frozen(slots=True)
class Int8Plan:
    """The verdicts on the weighted layers of a segment, and the ranges of its activations, by the names of layers and values."""

    layers: Mapping[str, LayerPlan]
    tensors: Mapping[str, TensorPlan]

    @property
    def quantised(self) -> tuple[str, ...]:
        """The layers that compute with integers."""
        return tuple(n for n, layer in self.layers.items() if layer.quantised)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return attrs.asdict(self)


def summary(segment: str, plan: Int8Plan, calibrator: str) -> dict[str, Any]:
    """What a report says of a plan."""
    return {
        "calibrator": calibrator,
        "int8_layers": len(plan.quantised),
        "plan": plan.to_json(),
        "table": _table(segment, plan),
    }


def _table(segment: str, plan: Int8Plan) -> dict[str, Any]:
    """The layers that are left, with their reasons."""
    left = [(n, p) for n, p in plan.layers.items() if not p.quantised]
    rows = [[name, p.op, ", ".join(p.nodes), p.origin, p.reason] for name, p in left]
    title = f"{segment}: {len(plan.quantised)} of {len(plan.layers)} weighted layers in int8"
    return {"title": title, "columns": ["left layer", "op", "nodes", "origin", "why"], "rows": rows}


def value_name(value: Value) -> str:
    """How plans name a value."""
    return value.name
