"""Precision plans: per layer its precision, why, and on whose word. Data that is printed, saved, edited and replayed."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically

FLOAT32 = "fp32"


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


@attrs.frozen(slots=True)
class LayerPrecision:
    """What was decided of one layer.

    Attributes:
        precision: ``fp32`` or the plan's mode.
        reason: why, in words; empty for a layer that nothing speaks against.
        origin: who decided: ``default``, ``rule:NAME``, ``type`` (the layer does not exist in that precision), ``user``,
            ``casts`` (float32 takes fewer casts), ``builder`` (TensorRT refused it), ``search`` (kept for a tolerance).
        op: the layer.
        nodes: the caller's nodes that it comes from.
        flops: floating-point operations, unknown dimensions counted as nominal.
    """

    precision: str
    reason: str = ""
    origin: str = "default"
    op: str = ""
    nodes: tuple[str, ...] = attrs.field(default=(), converter=_names)
    flops: int = 0


@attrs.frozen(slots=True)
class PrecisionPlan:
    """The precisions of the layers of one segment, by layer name; ``mode`` is the low precision.

    Layers that a plan does not name are decided by the rules when it is replayed.
    """

    mode: str
    layers: Mapping[str, LayerPrecision] = attrs.field(factory=dict)

    @property
    def low(self) -> tuple[str, ...]:
        """The layers in the low precision."""
        return tuple(name for name, layer in self.layers.items() if layer.precision != FLOAT32)

    @property
    def high(self) -> tuple[str, ...]:
        """The layers in float32."""
        return tuple(name for name, layer in self.layers.items() if layer.precision == FLOAT32)

    @property
    def flops_share(self) -> float:
        """The share of the arithmetic that is done in the low precision (0 when there is none)."""
        total = sum(layer.flops for layer in self.layers.values())
        return sum(self.layers[name].flops for name in self.low) / total if total else 0.0

    def keep(self, patterns: Iterable[str], reason: str = "the plan was edited", origin: str = "user") -> PrecisionPlan:
        """This plan with the layers whose name, or node's name, matches a shell pattern in float32."""
        return self._with(patterns, FLOAT32, reason, origin)

    def lower(
        self, patterns: Iterable[str], reason: str = "the plan was edited", origin: str = "user"
    ) -> PrecisionPlan:
        """This plan with the matching layers in the low precision."""
        return self._with(patterns, self.mode, reason, origin)

    def _with(self, patterns: Iterable[str], precision: str, reason: str, origin: str) -> PrecisionPlan:
        wanted = tuple(patterns)
        changed = {
            name: attrs.evolve(layer, precision=precision, reason=reason, origin=origin)
            for name, layer in self.layers.items()
            if any(fnmatch.fnmatchcase(n, p) for n in (name, *layer.nodes) for p in wanted)
        }
        return attrs.evolve(self, layers={**self.layers, **changed})

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {"mode": self.mode, "layers": {name: attrs.asdict(layer) for name, layer in self.layers.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PrecisionPlan:
        """From :meth:`to_json`'s data.

        Raises:
            ConfigError: the data is no plan.
        """
        try:
            layers = {name: LayerPrecision(**layer) for name, layer in data["layers"].items()}
            plan = cls(str(data["mode"]), layers)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError("this is no precision plan", why=repr(error)) from error
        wrong = sorted(n for n, layer in layers.items() if layer.precision not in (FLOAT32, plan.mode))
        if wrong:
            raise ConfigError(f"precisions of a {plan.mode} plan are {FLOAT32} and {plan.mode}", where=wrong)
        return plan


def save_plans(path: Path, plans: Mapping[str, PrecisionPlan]) -> None:
    """Write the plans of several segments, by segment name, to one JSON file."""
    tree = {"format": 1, "plans": {name: plan.to_json() for name, plan in plans.items()}}
    write_atomically(path, json.dumps(tree, indent=1).encode())


def load_plans(path: Path) -> dict[str, PrecisionPlan]:
    """What :func:`save_plans` wrote; ConfigError when the file is something else."""
    try:
        tree = json.loads(path.read_text())["plans"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no precision plans", why=repr(error)) from error
    return {name: PrecisionPlan.from_json(data) for name, data in tree}
