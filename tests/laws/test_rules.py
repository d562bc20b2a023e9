"""Every rewrite rule that any shipped plugin contributes, under its laws against TensorFlow, with no less than 200 examples.

The rules are those that the plugins' hooks give: one that is added without a law fails here, by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import pytest
from rewrite import recipes

from laws import bodies, composites
from tfgraphopt import plugins
from tfgraphopt.rewrite import Pattern
from tfgraphopt.testing.contracts import pattern_contract
from tfgraphopt_trt.testing import body_pattern_contract

RULES: tuple[Pattern, ...] = plugins.load(strict=True).items("tfgraphopt_patterns")
ROUNDING = 2e-4
"""How much folding weights and regrouping sums may move a result, relative to its size."""


def check_about_ops(rule: Pattern, rtol: float = 0.0) -> None:
    """A rule of the graph in TensorFlow's ops; the strategies make what it names where there is no recipe for it."""
    graphs = recipes.having(recipes.RECIPES[rule.name]) if rule.name in recipes.RECIPES else None
    pattern_contract(rule, graphs=graphs, rtol=rtol, atol=rtol)()


def check_about_layers(rule: Pattern) -> None:
    """A rule of lowered bodies."""
    body_pattern_contract(rule, bodies.bodies_with(*bodies.RECIPES[rule.name]), tolerance=ROUNDING)()


def check_hosted_by_lower(rule: Pattern) -> None:
    """A rule about ops that makes composite ones, or about the layers that they become."""
    about_layers = rule.name in bodies.RECIPES
    (check_about_layers if about_layers else composites.check)(rule)


LAWS: Mapping[str, Callable[[Pattern], None]] = {
    "canonicalize": check_about_ops,  # bit by bit
    "fuse": functools.partial(check_about_ops, rtol=ROUNDING),
    "lower": check_hosted_by_lower,
    "trt-canonicalize": check_about_layers,
}
"""By the pass that hosts a rule."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_keeps_its_laws(rule: Pattern) -> None:
    assert rule.host in LAWS, f"no law is known for rules that {rule.host!r} hosts"
    LAWS[rule.host](rule)


def test_no_recipe_is_left_of_a_rule_that_is_gone() -> None:
    known = {rule.name for rule in RULES}
    written = {*recipes.RECIPES, *bodies.RECIPES, *composites.RECIPES}
    assert written <= known


def test_names_are_unique_and_documented() -> None:
    assert len({r.name for r in RULES}) == len(RULES)
    assert all(type(r).__doc__ for r in RULES)
