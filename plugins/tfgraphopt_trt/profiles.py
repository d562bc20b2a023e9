"""Optimisation profiles: the shapes an engine must work for, checked before TensorRT sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Graph, Shape, Value

Dims = tuple[int, ...]
_LIMIT = 2**31 - 1


def _dims(dims: Iterable[int]) -> Dims:
    return tuple(int(d) for d in dims)


@attrs.frozen(slots=True)
class ValueRange:
    """The values of an input that TensorRT computes shapes from: flat, row-major, at min, opt and max."""

    min: Dims = attrs.field(converter=_dims)
    opt: Dims = attrs.field(converter=_dims)
    max: Dims = attrs.field(converter=_dims)

    def __attrs_post_init__(self) -> None:
        _check_order(self.min, self.opt, self.max, "values")


@attrs.frozen(slots=True)
class InputRange:
    """The shapes of one input: ``min <= dims <= max``, tuned for ``opt``; ``values`` for a shape tensor.

    Raises:
        ConfigError: the ranks differ, a dimension is negative or too large, or the order is wrong.
    """

    min: Dims = attrs.field(converter=_dims)
    opt: Dims = attrs.field(converter=_dims)
    max: Dims = attrs.field(converter=_dims)
    values: ValueRange | None = None

    def __attrs_post_init__(self) -> None:
        _check_order(self.min, self.opt, self.max, "dimensions")
        if any(not 0 <= d <= _LIMIT for d in (*self.min, *self.max)):
            raise ConfigError(f"dimensions of a profile lie between 0 and {_LIMIT}: {self}")

    @classmethod
    def fixed(cls, dims: Iterable[int]) -> InputRange:
        """The range of one shape only."""
        dims = _dims(dims)
        return cls(dims, dims, dims)

    def __str__(self) -> str:
        return f"min {list(self.min)} opt {list(self.opt)} max {list(self.max)}"


Profile = Mapping[int, InputRange]
"""Ranges by the index of the graph's input; an input whose shape is fully known may be left out."""


def _check_order(low: Dims, opt: Dims, high: Dims, what: str) -> None:
    if not len(low) == len(opt) == len(high):
        raise ConfigError(f"min {list(low)}, opt {list(opt)} and max {list(high)} do not have equally many {what}")
    wrong = [i for i in range(len(low)) if not low[i] <= opt[i] <= high[i]]
    if wrong:
        raise ConfigError(
            f"min {list(low)} <= opt {list(opt)} <= max {list(high)} does not hold at position {wrong[0]}",
            hint="give the range as (smallest, most frequent, largest)",
        )


def check_profiles(graph: Graph, profiles: Sequence[Profile], shape_inputs: Iterable[int] = ()) -> None:
    """ConfigError when the profiles do not fit the graph's inputs; the message names profile, input and both shapes.

    Args:
        graph: the body that will be built.
        profiles: one or several; none is enough when every input's shape is known and none is a shape tensor.
        shape_inputs: inputs that TensorRT reads as shape tensors, which need a range of values.
    """
    shape_inputs = frozenset(shape_inputs)
    dynamic = [i for i, v in enumerate(graph.inputs) if not v.shape.is_static]
    if not profiles and (dynamic or shape_inputs):
        names = [graph.inputs[i].name for i in sorted({*dynamic, *shape_inputs})]
        raise ConfigError("shapes are known only at run time and no profile says their range", where=names, hint=_HINT)
    for number, profile in enumerate(profiles):
        _check_profile(graph, number, profile, dynamic, shape_inputs)


_HINT = "give max_batch_size, or input_shapes={name: ShapeRange(min, opt, max)} (with values=, for what shapes are computed of)"


def _check_profile(
    graph: Graph, number: int, profile: Profile, dynamic: Sequence[int], shape_inputs: frozenset[int]
) -> None:
    unknown = [i for i in profile if not 0 <= i < len(graph.inputs)]
    if unknown:
        count = len(graph.inputs)
        raise ConfigError(f"profile {number} is about input {unknown[0]}; {graph.name!r} has {count} inputs")
    missing = [graph.inputs[i].name for i in dynamic if i not in profile]
    missing += [graph.inputs[i].name for i in sorted(shape_inputs) if i not in profile or profile[i].values is None]
    if missing:
        raise ConfigError(f"profile {number} of {graph.name!r} leaves inputs out", where=missing, hint=_HINT)
    for index, wanted in profile.items():
        _check_range(number, graph.inputs[index], wanted)


def _check_range(number: int, value: Value, wanted: InputRange) -> None:
    where = f"profile {number}, input {value.name!r} {value.type}: {wanted}"
    for dims in (wanted.min, wanted.max):
        if not value.shape.compatible(Shape(dims)):
            raise ConfigError(f"{where} does not fit", why=f"{list(dims)} is not a shape of {value.type}", hint=_HINT)
    if wanted.values is not None and value.dtype not in (DType.INT32, DType.INT64):
        raise ConfigError(f"{where} has a range of values", why="only int32 and int64 inputs can be shape tensors")


def add_profiles(
    builder: Any, config: Any, names: Sequence[str], profiles: Sequence[Profile], shape_inputs: Iterable[int]
) -> bool:
    """Hand the profiles to TensorRT under the network's input ``names``; False when it refuses one (see its log).

    Only ``shape_inputs`` get their ranges of values: TensorRT has no use for those of other inputs.
    """
    read = frozenset(shape_inputs)
    for profile in profiles:
        made = builder.create_optimization_profile()
        for index, wanted in profile.items():
            made.set_shape(names[index], wanted.min, wanted.opt, wanted.max)
            if wanted.values is not None and index in read:
                made.set_shape_input(names[index], wanted.values.min, wanted.values.opt, wanted.values.max)
        if config.add_optimization_profile(made) < 0:
            return False
    return True
