"""Converters from TensorFlow ops to ``trt.*`` layers: one module a family, each exporting ``CONVERTERS``."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgraphopt_trt.converter import Converter

FAMILIES = (
    "activation", "binary", "constants", "control", "convolution", "diagonals", "einsum", "gathering", "identity",
    "matmul", "morphology", "normalization", "padding", "pooling", "reduction", "resize", "scan", "selection",
    "shapes", "slicing", "spatial", "tensors", "transposed_convolution", "unary",
)  # fmt: skip


def all_converters() -> tuple[Converter, ...]:
    """Every converter of this package, family by family."""
    found: list[Converter] = []
    for family in FAMILIES:
        name = f"{__name__}.{family}"
        if importlib.util.find_spec(name) is not None:  # families are being written
            found.extend(importlib.import_module(name).CONVERTERS)
    return tuple(found)
