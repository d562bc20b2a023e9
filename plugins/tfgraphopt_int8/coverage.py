"""What calibration data did not cover, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from tfgraphopt_int8.calibrators import Calibrator, quantisation_error, range_of
from tfgraphopt_int8.statistics import Statistics, TensorStatistics

HEAVY = 0.01


@attrs.frozen(slots=True)
class Finding:
    """Something to know about one tensor: ``kind`` is never seen, not finite, all zero, constant or heavily clipped."""

    tensor: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.tensor}: {self.kind}" + (f" ({self.detail})" if self.detail else "")


def findings(statistics: Statistics, calibrator: Calibrator | None = None) -> list[Finding]:
    """Everything remarkable about the tensors to be quantised; clipping needs the calibrator."""
    found = [Finding(name, "never seen") for name in statistics.missing]
    for name, seen in sorted(statistics.tensors.items()):
        finding = _finding(name, seen, calibrator) if seen.batches else None
        found += [finding] if finding else []
    return found


def _finding(name: str, seen: TensorStatistics, calibrator: Calibrator | None) -> Finding | None:
    if not seen.is_finite:
        return Finding(name, "not finite", f"{seen.nans} NaN, {seen.infinities} infinite")
    if seen.amax == 0:
        return Finding(name, "all zero")
    if seen.min == seen.max:
        return Finding(name, "constant", f"{seen.min:g}")
    if calibrator is None:
        return None
    amax = range_of(name, seen, calibrator)
    clipped = seen.clipped(amax)
    return Finding(name, "heavily clipped", f"{clipped:.1%} above {amax:.4g}") if clipped > HEAVY else None


def table(statistics: Statistics, calibrators: Sequence[Calibrator]) -> list[list[str]]:
    """Per tensor its extent, the range that each calibrator chooses, and what it clips; rows of texts with a header row."""
    rows = [["tensor", "batches", "min", "max", "zeros", *(c.name for c in calibrators)]]
    for name, seen in sorted(statistics.tensors.items()):
        if seen.batches and seen.is_finite and seen.count:
            facts = [name, str(seen.batches), f"{seen.min:.4g}", f"{seen.max:.4g}", f"{seen.zeros / seen.count:.1%}"]
            rows.append([*facts, *(_choice(name, seen, c) for c in calibrators)])
    return rows


def _choice(name: str, seen: TensorStatistics, calibrator: Calibrator) -> str:
    amax = range_of(name, seen, calibrator)
    if seen.histogram is None:
        return "0"
    return f"{amax:.4g} (clips {seen.clipped(amax):.2%}, mse {quantisation_error(seen.histogram, amax):.2g})"
