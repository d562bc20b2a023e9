"""Which profile of an engine takes given inputs, and what keeps the others from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfgraphopt_trt.profiles import Dims, InputRange, Profile


def tightest(profiles: Sequence[Profile], shapes: Sequence[Dims], values: Mapping[int, Dims]) -> int | None:
    """The index of the profile that takes the inputs and is tuned closest to them; None when no profile takes them.

    That is the one with the fewest shapes in its range, since kernels are chosen for the whole range; among equals the one whose
    optimum is nearest.

    Args:
        profiles: of one engine.
        shapes: of all inputs, in order.
        values: elements of the shape tensors among them, by index.
    """
    fitting = [i for i, profile in enumerate(profiles) if misfit(profile, shapes, values) is None]
    return min(fitting, key=lambda i: (_size(profiles[i]), _distance(profiles[i], shapes), i), default=None)


def misfit(profile: Profile, shapes: Sequence[Dims], values: Mapping[int, Dims]) -> str | None:
    """What keeps ``profile`` from taking the inputs, or None when it does."""
    for index, wanted in profile.items():
        reason = _outside(wanted.min, wanted.max, shapes[index], "dimension")
        if reason is None and wanted.values is not None and index in values:
            reason = _outside(wanted.values.min, wanted.values.max, values[index], "value")
        if reason is not None:
            return f"input {index}: {reason}"
    return None


def explain_misfit(profiles: Sequence[Profile], shapes: Sequence[Dims], values: Mapping[int, Dims]) -> str:
    """What keeps every profile from taking the inputs (the op says how to widen them)."""
    return "; ".join(f"profile {i}: {misfit(p, shapes, values)}" for i, p in enumerate(profiles))


def _outside(low: Dims, high: Dims, given: Dims, what: str) -> str | None:
    if len(given) != len(low):
        return f"it has {len(given)} {what}s, the engine was built for {len(low)}"
    wrong = [i for i, d in enumerate(given) if not low[i] <= d <= high[i]]
    if not wrong:
        return None
    at = wrong[0]
    return f"{what} {at} is {given[at]}, built for {low[at]} to {high[at]}"


def _size(profile: Profile) -> int:
    """How many different shapes (and values) a profile takes."""
    total = 1
    for wanted in profile.values():
        for low, high in _limits(wanted):
            total *= high - low + 1
    return total


def _limits(wanted: InputRange) -> list[tuple[int, int]]:
    found = list(zip(wanted.min, wanted.max, strict=True))
    if wanted.values is not None:
        found += zip(wanted.values.min, wanted.values.max, strict=True)
    return found


def _distance(profile: Profile, shapes: Sequence[Dims]) -> int:
    return sum(abs(a - b) for i, wanted in profile.items() for a, b in zip(wanted.opt, shapes[i], strict=True))
