"""Composite ops: what TensorRT has one layer for and frameworks write as many ops.

The pass ``lower`` hosts the rules: they rewrite the copy of a segment's body that is about to become layers, so what TensorFlow runs
keeps its ops and its bits. The ops exist in that copy only and are never exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgraphopt.rewrite import Pattern
    from tfgraphopt_trt.converter import Converter


def all_patterns() -> tuple[Pattern, ...]:
    """Every rule, one family a file."""
    from tfgraphopt_converters.composites import activations, attention, normalization

    return (*activations.PATTERNS, *normalization.PATTERNS, *attention.PATTERNS)


def all_converters() -> tuple[Converter, ...]:
    """The converters of the composite ops."""
    from tfgraphopt_converters.composites import activations, attention, normalization

    return (*activations.CONVERTERS, *normalization.CONVERTERS, *attention.CONVERTERS)
