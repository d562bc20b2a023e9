"""Rules that make lowered bodies smaller; the passes ``lower`` (right after lowering) and ``trt-canonicalize`` host them."""

from __future__ import annotations

from tfgraphopt.rewrite import Pattern
from tfgraphopt_trt.simplify import affine, padding, products, shuffles, weights


def all_patterns() -> tuple[Pattern, ...]:
    """Every rule, one family a file."""
    return (*weights.PATTERNS, *affine.PATTERNS, *padding.PATTERNS, *shuffles.PATTERNS, *products.PATTERNS)
