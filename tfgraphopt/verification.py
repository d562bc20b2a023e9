"""Predicted accuracy as data: what is asked for, and errors per output and per segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.config import Config

if TYPE_CHECKING:
    from tfgraphopt.graphdef import GraphDef
    from tfgraphopt.plugins import Tables
    from tfgraphopt.sessions import State

Array = npt.NDArray[Any]


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@attrs.frozen(slots=True)
class Errors:
    """How far an array is off.

    Attributes:
        max_abs: largest absolute difference; infinite when one has a number where the other has none.
        max_rel: ``max_abs`` relative to the largest finite magnitude expected.
        cosine: cosine of the angle between both, as vectors.
        snr_db: power of what was expected over power of the difference, in decibels (infinite when equal).
        bad: elements that are not finite though they should be.
    """

    max_abs: float
    max_rel: float
    cosine: float
    snr_db: float
    bad: int = 0

    @classmethod
    def between(cls, made: Array, expected: Array) -> Errors:
        """The errors of ``made`` against ``expected``, arrays of one shape; unequal integers are infinitely far."""
        sums = ErrorSums()
        sums.add(made, expected)
        return sums.errors

    def within(self, tolerance: float) -> bool:
        """Whether the relative error is at most ``tolerance``."""
        return not self.bad and self.max_rel <= tolerance


EXACT = Errors(0.0, 0.0, 1.0, np.inf)
NONE_RIGHT = Errors(np.inf, np.inf, 0.0, -np.inf)


@attrs.define(slots=True)
class ErrorSums:
    """Errors over any number of batches, as if they were one array: :meth:`add` each, then read :attr:`errors`.

    Memory does not grow with the batches. Cosine and SNR are those of all elements together.
    """

    bad: int = 0
    largest: float = 0.0
    magnitude: float = 0.0
    noise: float = 0.0
    power: float = 0.0
    made_power: float = 0.0
    product: float = 0.0

    def add(self, made: Array, expected: Array) -> None:
        """Add one batch: arrays of one shape; unequal integers, texts or truth values are infinitely far."""
        a, b = np.asarray(made), np.asarray(expected)
        if np.issubdtype(b.dtype, np.complexfloating):
            a, b = (np.stack([x.real, x.imag]) for x in (a, b))
        if np.issubdtype(b.dtype, np.floating) or b.dtype.kind == "V":
            self._add_floats(a.astype(np.float64), b.astype(np.float64))
        else:
            self.bad += int((a != b).sum())

    def _add_floats(self, a: Array, b: Array) -> None:
        same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities where infinities belong are right
        self.bad += int(((~np.isfinite(a) | ~np.isfinite(b)) & ~same).sum())
        finite = np.isfinite(a) & np.isfinite(b)
        a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
        self.largest = max(self.largest, float(np.abs(a - b).max(initial=0.0)))
        self.magnitude = max(self.magnitude, float(np.abs(b).max(initial=0.0)))
        self.noise += float(np.square(a - b).sum())
        self.power += float(np.square(b).sum())
        self.made_power += float(np.square(a).sum())
        self.product += float(np.vdot(a, b))

    @property
    def errors(self) -> Errors:
        """What all batches together are off by."""
        if self.bad:
            return attrs.evolve(NONE_RIGHT, bad=self.bad)
        norms = float(np.sqrt(self.power) * np.sqrt(self.made_power))
        snr = np.inf if self.noise == 0 else float(10 * np.log10(max(self.power, 1e-300) / self.noise))
        return Errors(
            self.largest, self.largest / max(self.magnitude, 1e-30), self.product / norms if norms else 1.0, snr
        )


@attrs.frozen(slots=True)
class VerifyRequest:
    """What to predict.

    Attributes:
        graph_def, outputs: the frozen model and what its caller fetches.
        config: how it would be optimised; nothing is built.
        tables: the plugins.
        feeds: an array for every input, by name.
        tolerance: largest relative error wanted, or None when nothing is to be searched.
        search: look for the smallest set of layers to keep in float32 when the tolerance is not met.
        measure: let the ranges of tensors on ``feeds`` decide, too.
        progress: called with (what, done, total).
        state: what runs need of the model beside the graph.
    """

    graph_def: GraphDef
    outputs: Sequence[str]
    config: Config
    tables: Tables
    feeds: Mapping[str, Array]
    tolerance: float | None = None
    search: bool = True
    measure: bool = False
    progress: Callable[[str, int, int], None] = _silent
    state: State | None = None


@attrs.frozen(slots=True)
class Culprit:
    """A layer that must stay in float32, with the caller's nodes that it comes from and the error that it makes alone."""

    segment: str
    layer: str
    op: str
    nodes: tuple[str, ...]
    error: float


@attrs.frozen(slots=True)
class Verification:
    """What was predicted.

    Attributes:
        precision: the precision asked for.
        outputs: errors of the model's outputs, by name, against TensorFlow.
        segments: per segment the errors of its outputs, by name, for the operands that TensorFlow computes.
        culprits: the layers to keep in float32 for the tolerance; None when none was searched for, empty when none is needed.
        repaired: errors of the model's outputs with the culprits in float32.
        notes: what the caller should know.
        artefacts: JSON data to save, by kind (``plans``, ``ranges``).
        tables: tables to print.
    """

    precision: str
    outputs: Mapping[str, Errors]
    segments: Mapping[str, Mapping[str, Errors]]
    culprits: tuple[Culprit, ...] | None = None
    repaired: Mapping[str, Errors] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()
    artefacts: Mapping[str, Any] = attrs.field(factory=dict)
    tables: tuple[Mapping[str, Any], ...] = ()

    def within(self, tolerance: float) -> bool:
        """Whether every output is within ``tolerance`` (with the culprits in float32, when there are any)."""
        errors = self.repaired or self.outputs
        return all(e.within(tolerance) for e in errors.values())

    def to_json(self) -> dict[str, Any]:
        """A tree of plain Python values, without what is only for printing."""
        tree = attrs.asdict(self, filter=attrs.filters.exclude("tables"), value_serializer=_plain)
        return {"format": 1, **tree}


def _plain(instance: object, field: object, value: Any) -> Any:
    """JSON has no infinity and no NaN: they become texts."""
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
