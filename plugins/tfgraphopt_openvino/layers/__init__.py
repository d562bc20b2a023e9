"""The mappings of the shipped layers: one family a file, each exporting ``LAYERS``."""

from __future__ import annotations

from tfgraphopt_openvino.layers import (
    basics,
    control,
    elementwise,
    indexing,
    linear,
    quantisation,
    reduction,
    sampling,
    sequences,
    shaping,
    slicing,
    windows,
)  # fmt: skip
from tfgraphopt_openvino.mapping import OpenVinoLayer

_FAMILIES = (
    basics, control, elementwise, indexing, linear, quantisation, reduction, sampling, sequences, shaping, slicing, windows,
)  # fmt: skip


def all_layers() -> tuple[OpenVinoLayer, ...]:
    """Every mapping that comes with this package."""
    return tuple(layer for family in _FAMILIES for layer in family.LAYERS)
