"""Calibration data, whatever its form: one mapping of arrays a batch, checked against the model's inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import UNKNOWN_SHAPE, DType, Node, Shape, TensorType
from tfgraphopt.ir.tensor import Array

Batch = dict[str, Array]


@attrs.frozen(slots=True)
class Input:
    """A placeholder: its name, and the element type and shape that the model declares."""

    name: str
    type: TensorType


def _input(node: Node) -> Input:
    declared = node.attrs.get("shape")
    shape = declared if isinstance(declared, Shape) else UNKNOWN_SHAPE
    return Input(node.name, TensorType(node.outputs[0].dtype, shape))


@attrs.frozen(slots=True)
class Feeder:
    """Makes feeds of what the caller gives; ``inputs`` are the model's placeholders in order."""

    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> Feeder:
        """For a graph's nodes."""
        return cls(tuple(_input(n) for n in nodes if n.op in ("Placeholder", "PlaceholderV2")))

    def batches(self, data: Iterable[Any]) -> Iterator[Batch]:
        """The feeds of every batch of ``data``.

        Raises:
            ConfigError: there is no batch; an input is missing, unknown, or of another element type or shape.
        """
        if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
            kind = type(data).__name__
            raise ConfigError(
                f"calibration data is an iterable of batches, not a {kind}", hint="wrap a batch in a list"
            )
        index = -1
        for index, batch in enumerate(data):
            yield self.feeds(batch, index)
        if index < 0:
            raise ConfigError("there is no calibration data", why="the iterable gave no batch")

    def feeds(self, batch: Any, index: int) -> Batch:
        """The arrays of one batch by input name."""
        named = self._named(batch, index)
        arrays = {name: _array(value) for name, value in named.items()}
        for value in self.inputs:
            _check(value, arrays[value.name], index)
        return arrays

    def _named(self, batch: Any, index: int) -> dict[str, Any]:
        names = [v.name for v in self.inputs]
        if isinstance(batch, Mapping):
            given = {str(k).removesuffix(":0"): v for k, v in batch.items()}
        elif isinstance(batch, (tuple, list)):
            if len(batch) != len(names):
                raise ConfigError(
                    f"batch {index} has {len(batch)} arrays; the model has {len(names)} inputs", where=names
                )
            given = dict(zip(names, batch, strict=True))
        elif len(names) == 1:
            given = {names[0]: batch}
        else:
            hint = "give a dict or a tuple"
            raise ConfigError(f"batch {index} is one array; the model has {len(names)} inputs", where=names, hint=hint)
        self._compare(names, given, index)
        return given

    def _compare(self, names: Sequence[str], given: Mapping[str, Any], index: int) -> None:
        missing, unknown = [n for n in names if n not in given], [n for n in given if n not in names]
        if missing:
            raise ConfigError(f"batch {index} lacks inputs of the model", where=missing, why=f"it has {sorted(given)}")
        if unknown:
            raise ConfigError(
                f"batch {index} names inputs that the model lacks", where=unknown, why=f"it has {list(names)}"
            )


def _array(value: Any) -> Array:
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _check(value: Input, array: Array, index: int) -> None:
    dtype, shape = value.type.dtype, value.type.shape
    if not _is_of(array, dtype):
        raise ConfigError(
            f"batch {index}: input {value.name!r} takes {dtype.tf_name}, not {array.dtype}", where=[value.name],
            hint="prepare calibration data exactly as the data of inference",
        )  # fmt: skip
    if not shape.compatible(Shape(array.shape)):
        raise ConfigError(
            f"batch {index}: input {value.name!r} takes shape {shape}, not {array.shape}", where=[value.name]
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ConfigError(f"batch {index}: input {value.name!r} is not finite", where=[value.name])
    if array.size == 0:
        raise ConfigError(
            f"batch {index}: input {value.name!r} is empty", where=[value.name], why=f"its shape is {array.shape}"
        )


def _is_of(array: Array, dtype: DType) -> bool:
    """Whether TensorFlow takes the elements of ``array`` as ``dtype``; text comes in several types of NumPy's."""
    return array.dtype.kind in "OSU" if dtype is DType.STRING else array.dtype == dtype.np


def samples_of(batch: Batch) -> int:
    """How many samples a batch has: its arrays' common leading dimension, else 1."""
    sizes = {a.shape[0] for a in batch.values() if a.ndim}
    return sizes.pop() if len(sizes) == 1 else 1
