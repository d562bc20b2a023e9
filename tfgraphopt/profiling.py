"""Shape ranges from samples: what a model's inputs looked like becomes the profiles that engines are built for.

The strategies are those that TF-TRT's ``dynamic_shape_profile_strategy`` knew (tensorflow/compiler/tf2tensorrt,
``trt_shape_optimization_profiles``), with its names.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.config import ShapeRange
from tfgraphopt.errors import ConfigError

Dims = tuple[int, ...]
Seen = tuple[tuple[str, Dims], ...]
"""The shape of every input of one sample, by name, sorted."""

MOST_VALUES = 8
"""Integer inputs of rank 0 or 1 with more elements than this are data, not sizes: their values are not recorded."""


def shape_ranges(
    samples: Iterable[Any], strategy: str = "Range", *, inputs: Sequence[str] = ()
) -> dict[str, tuple[ShapeRange, ...]]:
    """The ranges of shapes that cover ``samples``: one per profile, for every input; for ``Config.input_shapes``.

    Args:
        samples: what the model would be called with: a mapping of input names to arrays each, a sequence of arrays in the order of
            ``inputs``, or the array of the only input. Arrays may be NumPy's or TensorFlow's. Only their shapes are kept, so a
            generator over a large data set is fine.
        strategy: how shapes become profiles (case does not matter):

            - ``Range``: one profile from the smallest to the largest size of every dimension, tuned for the largest.
            - ``Optimal``: one profile for every combination of shapes that was seen, for that one only.
            - ``Range+Optimal``: both, the optimal ones first.
            - ``ImplicitBatchModeCompatible``: as Optimal, but each takes every batch (leading dimension) from 1 up.
        inputs: names of the model's inputs, in the order of samples that are sequences.

    Small integer inputs of rank 0 or 1 (at most ``MOST_VALUES`` elements) also get the range of their values, which matters where
    shapes are computed from them.

    Raises:
        ConfigError: there is no sample or no such strategy; a sample does not fit the inputs; the samples differ in rank where one
            profile shall cover them.
    """
    make = _strategy(strategy)
    seen = _Observations(tuple(n.partition(":")[0] for n in inputs))
    for number, sample in enumerate(samples):
        seen.add(sample, number)
    if not seen.shapes:
        raise ConfigError("no sample to collect shapes from", hint="let the input function yield at least one")
    profiles = list(dict.fromkeys(make(list(seen.shapes))))
    return {name: tuple(_with_values(name, p, seen) for p in profiles) for name, _ in next(iter(seen.shapes))}


@attrs.frozen(slots=True)
class _Profile:
    """Shapes of all inputs at the three points, and the samples' shapes that it is made of."""

    low: Seen
    opt: Seen
    high: Seen
    of: frozenset[Seen]


# -- strategies ------------------------------------------------------------------------------------------------------------


def _range(seen: Sequence[Seen]) -> list[_Profile]:
    low, high = _extreme(seen, min), _extreme(seen, max)
    return [_Profile(low, high, high, frozenset(seen))]


def _optimal(seen: Sequence[Seen]) -> list[_Profile]:
    return [_Profile(shapes, shapes, shapes, frozenset({shapes})) for shapes in seen]


def _both(seen: Sequence[Seen]) -> list[_Profile]:
    return [*_optimal(seen), *(_range(seen) if len(seen) > 1 else [])]


def _any_batch(seen: Sequence[Seen]) -> list[_Profile]:
    return [_Profile(_batch_of_one(shapes), shapes, shapes, frozenset({shapes})) for shapes in seen]


def _batch_of_one(shapes: Seen) -> Seen:
    return tuple((name, (min(1, dims[0]), *dims[1:]) if dims else dims) for name, dims in shapes)


def _extreme(seen: Sequence[Seen], best: Callable[[Iterable[int]], int]) -> Seen:
    found = []
    for same in zip(*seen, strict=True):
        name, shapes = same[0][0], [dims for _, dims in same]
        if len({len(dims) for dims in shapes}) > 1:
            raise ConfigError(
                f"samples of input {name!r} differ in rank: {sorted(set(shapes))}",
                hint="one profile covers one rank; use the strategy 'Optimal'",
            )
        found.append((name, tuple(best(sizes) for sizes in zip(*shapes, strict=True))))
    return tuple(found)


_Strategy = Callable[[Sequence[Seen]], list[_Profile]]
_STRATEGIES: Mapping[str, _Strategy] = {
    "Range": _range, "Optimal": _optimal, "Range+Optimal": _both, "ImplicitBatchModeCompatible": _any_batch,
}  # fmt: skip
STRATEGIES = tuple(_STRATEGIES)
"""The names of the strategies."""


def _strategy(name: str) -> _Strategy:
    for known, make in _STRATEGIES.items():
        if known.lower() == str(name).lower():
            return make
    raise ConfigError(f"{name!r} is no profile strategy", hint=f"choose one of {', '.join(STRATEGIES)}")


# -- observing -------------------------------------------------------------------------------------------------------------


@attrs.define(slots=True)
class _Observations:
    """What was seen: combinations of shapes in order of first appearance, and small integer values for each."""

    names: tuple[str, ...]
    shapes: dict[Seen, None] = attrs.field(factory=dict)
    values: dict[tuple[Seen, str], Counter[Dims]] = attrs.field(factory=dict)

    def add(self, sample: Any, number: int) -> None:
        arrays = _by_name(sample, self.names, number)
        shapes: Seen = tuple(sorted((name, _shape(array, name)) for name, array in arrays.items()))
        names = [name for name, _ in shapes]
        first = [name for name, _ in next(iter(self.shapes), shapes)]
        if names != first:
            raise ConfigError(f"sample {number} has inputs {names}", why=f"the ones before had {first}")
        self.shapes[shapes] = None
        for name, dims in shapes:
            if len(dims) <= 1 and math.prod(dims) <= MOST_VALUES and _is_integer(arrays[name]):
                elements = tuple(int(v) for v in np.asarray(arrays[name]).reshape(-1))
                self.values.setdefault((shapes, name), Counter())[elements] += 1


def _by_name(sample: Any, names: Sequence[str], number: int) -> dict[str, Any]:
    if isinstance(sample, Mapping):
        return {str(name).partition(":")[0]: array for name, array in sample.items()}
    arrays = list(sample) if isinstance(sample, list | tuple) else [sample]
    if len(arrays) != len(names):
        raise ConfigError(
            f"sample {number} holds {len(arrays)} arrays for inputs {list(names)}",
            hint="yield a mapping of input names to arrays, or as many arrays as the model has inputs",
        )
    return dict(zip(names, arrays, strict=True))


def _shape(array: Any, name: str) -> Dims:
    try:
        return tuple(int(d) for d in (array.shape if hasattr(array, "shape") else np.shape(array)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a sample of input {name!r} is no array", why=str(error)) from error


def _is_integer(array: Any) -> bool:
    kind = getattr(array, "dtype", None)
    return np.dtype(getattr(kind, "as_numpy_dtype", kind) or np.asarray(array).dtype) in (np.int32, np.int64)


# -- ranges ----------------------------------------------------------------------------------------------------------------


def _with_values(name: str, profile: _Profile, seen: _Observations) -> ShapeRange:
    """The range of one input in one profile, with the values it had in the samples that the profile is made of."""
    low, opt, high = (dict(point)[name] for point in (profile.low, profile.opt, profile.high))
    counts: Counter[Dims] = Counter()
    for shapes in profile.of:
        counts.update(seen.values.get((shapes, name), {}))
    if low != high or not counts or {len(v) for v in counts} != {math.prod(opt)}:
        return ShapeRange(low, opt, high)
    columns = list(zip(*counts, strict=True))
    smallest, largest = tuple(map(min, columns)), tuple(map(max, columns))
    return ShapeRange(low, opt, high, (smallest, counts.most_common(1)[0][0], largest))
