"""Every rule that comes with the framework, against TensorFlow: the laws of ``pattern_contract`` one rule at a time."""

from __future__ import annotations

import pytest

from rewrite.recipes import RECIPES, having
from tfgraphopt.rewrite import Pattern
from tfgraphopt.testing.contracts import pattern_contract
from tfgraphopt.transforms.patterns.catalogue import CANONICAL, FUSING


@pytest.mark.parametrize("rule", CANONICAL, ids=lambda rule: rule.name)
def test_canonical_rule_changes_no_bit(rule: Pattern) -> None:
    graphs = having(RECIPES[rule.name]) if rule.name in RECIPES else None
    pattern_contract(rule, graphs=graphs)()


@pytest.mark.parametrize("rule", FUSING, ids=lambda rule: rule.name)
def test_fusing_rule_changes_rounding_only(rule: Pattern) -> None:
    graphs = having(RECIPES[rule.name]) if rule.name in RECIPES else None
    pattern_contract(rule, graphs=graphs, rtol=2e-4, atol=2e-4)()


def test_names_are_unique_and_documented() -> None:
    rules = [*CANONICAL, *FUSING]
    assert len({r.name for r in rules}) == len(rules)
    assert all(type(r).__doc__ for r in rules)
    assert {r.host for r in CANONICAL} == {"canonicalize"}
    assert {r.host for r in FUSING} == {"fuse"}
