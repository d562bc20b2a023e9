"""The configuration of one optimisation: what every pass may read, validated once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
ENGINES = ("auto", "tensorrt", "xla", "openvino", "none")


def _dims(value: Sequence[int]) -> tuple[int, ...]:
    dims = tuple(int(d) for d in value)
    if any(d < 0 for d in dims):
        raise ConfigError(f"a shape range needs known dimensions, not {dims}")
    return dims


Points = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _values(value: Sequence[Sequence[int]] | None) -> Points | None:
    if value is None:
        return None
    low, opt, high = (tuple(int(v) for v in point) for point in value)
    return low, opt, high


@attrs.frozen(slots=True)
class ShapeRange:
    """Shapes that one model input takes: the smallest, the one to be fastest at, and the largest.

    Attributes:
        min, opt, max: dimensions, ``min <= opt <= max`` in each.
        values: for an int32 or int64 input of rank 0 or 1 whose *elements* decide about shapes (the size of a resize, say): its
            smallest, most frequent and largest elements, in order. Such an input has one shape only.

    Raises:
        ConfigError: the points differ in length, or are out of order.
    """

    min: tuple[int, ...] = attrs.field(converter=_dims)
    opt: tuple[int, ...] = attrs.field(converter=_dims)
    max: tuple[int, ...] = attrs.field(converter=_dims)
    values: Points | None = attrs.field(default=None, converter=_values)

    def __attrs_post_init__(self) -> None:
        _check_points(self.points, "dimension")
        if self.values is not None:
            _check_points(self.values, "value")
            if len(self.opt) > 1 or self.min != self.max or math.prod(self.opt) != len(self.values[0]):
                raise ConfigError(f"{len(self.values[0])} values do not belong to an input of shapes {self.points}")

    @property
    def points(self) -> Points:
        """(min, opt, max)."""
        return self.min, self.opt, self.max


def _check_points(points: Points, what: str) -> None:
    low, opt, high = points
    if not len(low) == len(opt) == len(high):
        raise ConfigError(f"min, opt and max must have equally many {what}s: {low}, {opt}, {high}")
    if not all(a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
        raise ConfigError(f"min <= opt <= max must hold in every {what}: {low}, {opt}, {high}")


def _precision(value: str) -> str:
    text = str(value).lower()
    if text not in PRECISIONS:
        raise ConfigError(f"{value!r} is no precision", hint=f"choose one of {', '.join(PRECISIONS)}")
    return text


def _engine(value: str) -> str:
    """Any name: plugins bring kinds of engines, so who picks one knows which there are."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", value):
        raise ConfigError(f"{value!r} is no name of an engine", hint=f"such as {', '.join(ENGINES)}")
    return value


def _ranges(value: Mapping[str, ShapeRange | Sequence[ShapeRange]] | None) -> dict[str, tuple[ShapeRange, ...]]:
    found: dict[str, tuple[ShapeRange, ...]] = {}
    for name, given in (value or {}).items():
        ranges = (given,) if isinstance(given, ShapeRange) else tuple(given)
        if not ranges or not all(isinstance(r, ShapeRange) for r in ranges):
            raise ConfigError(f"input_shapes[{name!r}] must be a ShapeRange or a list of them, not {given!r}")
        found[name.partition(":")[0]] = ranges
    counts = {len(r) for r in found.values()}
    if len(counts) > 1:
        raise ConfigError("every input needs the same number of shape ranges (profiles)", where=sorted(found))
    return found


def _positive(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ConfigError(f"{attribute.name} must be at least 1, not {value}")


@attrs.frozen(slots=True, kw_only=True)
class Config:
    """Options of an optimisation.

    Attributes:
        precision: fp32, fp16, bf16 or int8: the lowest precision that layers may be computed in.
        engine: what runs the segments: tensorrt, xla, openvino, a kind that another plugin brings, auto, or none (segment and
            lower, build nothing).
        input_shapes: per model input, the range(s) of shapes to build for; several ranges are several profiles.
        max_batch_size: for inputs without a range whose leading dimension alone is unknown, the largest batch.
        max_workspace_size_bytes: scratch memory an engine may use.
        minimum_segment_size: segments with fewer nodes that do work stay in TensorFlow.
        denied_ops, denied_nodes: op types and node names (or shell patterns of them) that stay in TensorFlow.
        strict: any engine that cannot be built or, at run time, cannot run is an error.
        pipeline: pipeline text in place of the default one.
        engine_dir: where plans too large for the GraphDef go (the user's cache directory by default).
        max_embedded_bytes: plans that would make the GraphDef larger than this go to ``engine_dir``.
        build_timeout: seconds one engine build may take.
        build_memory_bytes: resident memory the process that builds an engine may reach; None for no limit but the machine's.
        options: further options of plugins, by plugin name.
    """

    precision: str = attrs.field(default="fp32", converter=_precision)
    engine: str = attrs.field(default="tensorrt", converter=_engine)
    input_shapes: Mapping[str, tuple[ShapeRange, ...]] = attrs.field(factory=dict, converter=_ranges)
    max_batch_size: int = attrs.field(default=1, validator=_positive)
    max_workspace_size_bytes: int = attrs.field(default=1 << 30, validator=_positive)
    minimum_segment_size: int = attrs.field(default=3, validator=_positive)
    denied_ops: frozenset[str] = attrs.field(factory=frozenset, converter=frozenset)
    denied_nodes: tuple[str, ...] = attrs.field(factory=tuple, converter=tuple)
    strict: bool = False
    pipeline: str | None = None
    engine_dir: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    max_embedded_bytes: int = 1_900_000_000
    build_timeout: float = 1800.0
    build_memory_bytes: int | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)


def shape_points(
    placeholders: Mapping[str, Sequence[int | None] | None], config: Config
) -> list[tuple[dict[str, tuple[int, ...]], ...]]:
    """Per profile, the three points (min, opt, max) at which shapes are inferred: input name to shape.

    Args:
        placeholders: the model's inputs with their dimensions (None where unknown; None for an unknown rank).

    Raises:
        ConfigError: a range names no input, contradicts its shape, or a dimension other than the first is unknown and no range
            says what it takes.
    """
    _check_names(placeholders, config)
    count = max((len(r) for r in config.input_shapes.values()), default=1)
    profiles = []
    for index in range(count):
        ranges = {n: _range_of(n, dims, config, index) for n, dims in placeholders.items()}
        profiles.append(tuple({n: r.points[p] for n, r in ranges.items()} for p in range(3)))
    return profiles


def value_points(config: Config) -> list[tuple[dict[str, tuple[int, ...]], ...]]:
    """Per profile, the elements at its three points (min, opt, max) of the inputs whose ranges say so, by name."""
    count = max((len(r) for r in config.input_shapes.values()), default=1)
    profiles = []
    for index in range(count):
        given = {n: r[index].values for n, r in config.input_shapes.items()}
        profiles.append(tuple({n: v[p] for n, v in given.items() if v is not None} for p in range(3)))
    return profiles


def _check_names(placeholders: Iterable[str], config: Config) -> None:
    unknown = sorted(config.input_shapes.keys() - set(placeholders))
    if unknown:
        raise ConfigError(f"input_shapes names {unknown}", hint=f"the inputs are {sorted(placeholders)}")


def _range_of(name: str, dims: Sequence[int | None] | None, config: Config, index: int) -> ShapeRange:
    if name in config.input_shapes:
        given = config.input_shapes[name][index]
        if dims is not None and not _fits(given, dims):
            raise ConfigError(f"input_shapes[{name!r}] does not fit the input's shape {tuple(dims)}", why=str(given))
        return given
    if dims is None or None in dims[1:]:
        shown = "of unknown rank" if dims is None else str(tuple(dims))
        raise ConfigError(
            f"input {name!r} is {shown}: which shapes does it take?",
            hint=f"pass input_shapes={{{name!r}: ShapeRange(min, opt, max)}}",
        )
    low = tuple(1 if d is None else d for d in dims)
    high = tuple(config.max_batch_size if d is None else d for d in dims)
    return ShapeRange(low, high, high)


def _fits(given: ShapeRange, dims: Sequence[int | None]) -> bool:
    return all(
        len(point) == len(dims) and all(d is None or d == p for d, p in zip(dims, point, strict=True))
        for point in given.points
    )
