"""Rules that make lowered bodies smaller; the pass ``trt-canonicalize`` hosts them."""

from __future__ import annotations

from tfgraphopt.rewrite import Pattern
from tfgraphopt_trt.simplify import affine, padding, shuffles, weights


def all_patterns() -> tuple[Pattern, ...]:
    """Every rule, one family a file."""
    return (*weights.PATTERNS, *affine.PATTERNS, *padding.PATTERNS, *shuffles.PATTERNS)
