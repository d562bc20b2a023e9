"""The rules of the ``trt.*`` layers: one family a file, each exporting ``RULES``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tfgraphopt_layout.rules import LayoutRule
from tfgraphopt_layout.shipped import indexing, pointwise, products, reshaping, slicing, windows

_FAMILIES = (pointwise, windows, products, reshaping, slicing, indexing)


def all_rules() -> tuple[LayoutRule, ...]:
    """Every rule that comes with this package."""
    return tuple(rule for family in _FAMILIES for rule in family.RULES)


def rule_map() -> Mapping[str, LayoutRule]:
    """The same by op, read-only."""
    return MappingProxyType({op: rule for rule in all_rules() for op in rule.ops})
