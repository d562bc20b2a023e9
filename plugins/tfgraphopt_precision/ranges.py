"""Ranges of tensors, measured on sample data: mergeable, and JSON on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from tfgraphopt.errors import ConfigError
from tfgraphopt.files import write_atomically
from tfgraphopt.ir import Graph
from tfgraphopt.ir.tensor import Array
from tfgraphopt_precision.observing import observe
from tfgraphopt_trt.layerdef import LayerDef


@attrs.frozen(slots=True)
class Range:
    """The finite values that a tensor took: smallest, largest, and largest magnitude."""

    min: float
    max: float
    absmax: float

    @classmethod
    def of(cls, array: Array) -> Range | None:
        """The range of ``array``, or None when it has no finite element."""
        flat = np.asarray(array, np.float32)
        finite = flat[np.isfinite(flat)]
        if not finite.size:
            return None
        low, high = float(finite.min()), float(finite.max())
        return cls(low, high, max(-low, high))

    def merge(self, other: Range) -> Range:
        """The range of both."""
        return Range(min(self.min, other.min), max(self.max, other.max), max(self.absmax, other.absmax))


@attrs.frozen(slots=True)
class Ranges:
    """Ranges by the names of the values of one lowered body. Merging is associative and commutative."""

    by_name: Mapping[str, Range] = attrs.field(factory=dict)

    def get(self, name: str) -> Range | None:
        """The range of the value called ``name``, or None when it was not measured."""
        return self.by_name.get(name)

    def merge(self, other: Ranges) -> Ranges:
        """What both have seen."""
        merged = dict(self.by_name)
        for name, found in other.by_name.items():
            merged[name] = merged[name].merge(found) if name in merged else found
        return Ranges(merged)

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {name: attrs.astuple(r) for name, r in sorted(self.by_name.items())}

    @classmethod
    def from_json(cls, data: Mapping[str, Sequence[float]]) -> Ranges:
        """From :meth:`to_json`'s data."""
        return cls({name: Range(*map(float, triple)) for name, triple in data.items()})


def measure(graph: Graph, layers: Mapping[str, LayerDef], samples: Iterable[Sequence[Array]]) -> Ranges:
    """The ranges that the floating-point tensors of ``graph`` take while its meaning is run on ``samples``.

    Args:
        graph: a lowered body, best in float32.
        layers: layer definitions by op.
        samples: per sample one array for each formal input, in order.
    """
    found: dict[str, Range] = {}
    for feeds in samples:
        for value, tensor in observe(graph, layers, feeds):
            seen = Range.of(tensor.numpy()) if value.dtype.is_floating else None
            if seen is not None:
                found[value.name] = found[value.name].merge(seen) if value.name in found else seen
    return Ranges(found)


def save_ranges(path: Path, by_segment: Mapping[str, Ranges]) -> None:
    """Write the ranges of several segments to one JSON file."""
    tree = {"format": 1, "ranges": {name: r.to_json() for name, r in sorted(by_segment.items())}}
    write_atomically(path, json.dumps(tree, indent=1).encode())


def load_ranges(path: Path) -> dict[str, Ranges]:
    """What :func:`save_ranges` wrote; ConfigError when the file is something else."""
    try:
        tree = json.loads(path.read_text())
        return {name: Ranges.from_json(data) for name, data in tree["ranges"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no measured ranges", why=repr(error)) from error
