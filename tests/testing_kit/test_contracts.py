"""Contracts let correct things pass and catch each kind of breach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

import tfgraphopt
from tfgraphopt import builtin
from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.rewrite import Draft, Match, Pattern, PatternOps
from tfgraphopt.testing.compare import RunFailed, difference, run
from tfgraphopt.testing.contracts import (
    calibrator_contract,
    converter_contract,
    law,
    layer_contract,
    layout_rule_contract,
    pass_contract,
    pattern_contract,
    plugin_contract,
)  # fmt: skip
from tfgraphopt.testing.growing import Growing
from tfgraphopt.testing.strategies import from_op, modules

FEW = 30
UNARY = modules(ops=["Neg", "Abs", "Relu"], min_size=1, max_size=3)


@pytest.fixture(autouse=True)
def _no_shrinking() -> Iterator[None]:
    """Finding a breach is enough here; shrinking it takes long."""
    settings.register_profile("breaches", phases=[Phase.generate], database=None)
    settings.load_profile("breaches")
    yield
    settings.load_profile("default")


def breach(test: Callable[[], None], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        test()


# -- passes --------------------------------------------------------------------------------------------------------------


def broken(step: Callable[[Graph], None]) -> type[Pass]:
    @attrs.frozen
    class Broken(Pass):
        """Do something wrong."""

        name: ClassVar[str] = "broken"

        def run(self, graph: Graph, ctx: Context) -> None:
            step(graph)

    return Broken


def swap_abs(graph: Graph) -> None:
    for node in graph:
        if node.op == "Abs":
            new = graph.add("Neg", node.inputs, before=node, origin=node.origin, types=[node.output.type])
            node.output.replace_uses(new.output)
            graph.erase(node)


def grow_forever(graph: Graph) -> None:
    for node in graph:
        if node.op == "Neg":
            extra = graph.add("Identity", [node.output], origin=node.origin, types=[node.output.type])
            graph.set_outputs([extra.output if v is node.output else v for v in graph.outputs])


def forget_origin(graph: Graph) -> None:
    for node in graph:
        if node.op == "Neg" and node.origin:
            new = graph.add("Neg", node.inputs, before=node, types=[node.output.type])
            node.output.replace_uses(new.output)
            graph.erase(node)


def rename_outputs(graph: Graph) -> None:
    if len(graph.outputs) > 1:
        graph.set_outputs(graph.outputs[:1], graph.output_names[:1])


def name_by_identity(graph: Graph) -> None:
    for node in graph:
        if node.op == "Neg" and not node.name.startswith("at_"):
            new = graph.add(
                "Neg", node.inputs, before=node, name=f"at_{id(node)}", origin=node.origin, types=[node.output.type]
            )
            node.output.replace_uses(new.output)
            graph.erase(node)


@pytest.mark.parametrize(("step", "words"), [
    (swap_abs, "differ"), (grow_forever, "a second run changes"), (forget_origin, "has no origin"),
    (rename_outputs, "the fetches were"), (name_by_identity, "different graphs"),
])  # fmt: skip
def test_a_broken_pass_is_caught(step: Callable[[Graph], None], words: str) -> None:
    breach(pass_contract(broken(step), graphs=UNARY, examples=200), words)


def test_a_pass_that_does_nothing_is_lawful() -> None:
    nothing = broken(lambda graph: None)
    pass_contract(nothing, graphs=UNARY, examples=FEW, must_change=False)()
    breach(pass_contract(nothing, graphs=UNARY, examples=FEW), "changed none of the examples")


# -- patterns ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class AbsIsRelu(Pattern):
    """Wrong for negative numbers."""

    name: ClassVar[str] = "abs-is-relu"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.Abs(x, T=DType.FLOAT)

    def rewrite(self, op: Draft, m: Match) -> Any:
        return op.Relu(m.x)


@attrs.frozen
class PlusZero(Pattern):
    """Wrong for -0 only."""

    name: ClassVar[str] = "plus-zero"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.AddV2(x, 0)

    def rewrite(self, op: Draft, m: Match) -> Any:
        if m.x.shape != m.root.output.shape:
            from tfgraphopt.rewrite import NoMatch

            raise NoMatch("it broadcasts")
        return m.x


@attrs.frozen
class Never(Pattern):
    """Looks for an op that is not there."""

    name: ClassVar[str] = "never"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.Relu(op.Lgamma(x))

    def rewrite(self, op: Draft, m: Match) -> Any:
        return m.x


def test_a_wrong_rule_is_caught() -> None:
    breach(pattern_contract(AbsIsRelu), "differ")


def test_the_sign_of_zero_counts() -> None:
    def plus_zero(g: Growing, op: str) -> None:
        g.like("AddV2", [g.placeholder(DType.FLOAT, (2,)), g.const(np.float32(0))])

    graphs = modules(ops=["plus zero"], makers={"plus zero": plus_zero}, min_size=1, max_size=1)
    breach(pattern_contract(PlusZero, graphs=graphs), "-0.0")


def test_a_rule_that_never_fires_is_caught() -> None:
    breach(pattern_contract(Never, examples=FEW), "fired on none")


# -- the rest ------------------------------------------------------------------------------------------------------------

test_builtin_plugin_is_lawful = plugin_contract("again", SimpleNamespace())


def test_a_plugin_that_claims_what_is_taken_is_caught() -> None:
    class Clash:
        @tfgraphopt.hookimpl
        def tfgraphopt_passes(self) -> list[type[Pass]]:
            return list(builtin.tfgraphopt_passes())

    with pytest.raises(tfgraphopt.TfGraphOptError, match="both claim"):
        plugin_contract("clash", Clash())()


def test_an_undocumented_item_is_caught() -> None:
    class Plugin:
        @tfgraphopt.hookimpl
        def tfgraphopt_passes(self) -> list[type[Pass]]:
            step = broken(lambda graph: None)
            step.__doc__ = None
            return [step]

    breach(plugin_contract("mine", Plugin()), "no documentation")


class Refused(Exception):
    """A converter's refusal."""


def convert(node: Any) -> Any:
    if node.inputs[0].dtype is not DType.FLOAT:
        raise Refused(f"{node.inputs[0].dtype} is not taken")
    return node.op, node.inputs[0].name


test_a_right_converter_passes = converter_contract(
    "Neg", convert=convert, refusal=Refused, evaluate=lambda converted, values: [-values[converted[1]]], examples=FEW,
)  # fmt: skip


def test_a_wrong_converter_is_caught() -> None:
    test = converter_contract(
        "Neg",
        convert=convert,
        refusal=Refused,
        evaluate=lambda converted, values: [values[converted[1]]],
        graphs=from_op("Neg"),
    )
    breach(test, "differ")


SIZES = st.integers(1, 4)
test_a_right_layer_passes = layer_contract(
    lambda n: [TensorType(DType.FLOAT, Shape((n, None)))], lambda n: [np.zeros((n, 2), np.float32)], SIZES, FEW
)


def test_a_wrong_layer_is_caught() -> None:
    test = layer_contract(
        lambda n: [TensorType(DType.FLOAT, Shape((n,)))], lambda n: [np.zeros(n + 1, np.float32)], SIZES, FEW
    )
    breach(test, "is announced")


ARRAYS = st.integers(0, 9).map(lambda seed: np.random.default_rng(seed).normal(size=(2, 3, 4)).astype(np.float32))
test_a_right_layout_rule_passes = layout_rule_contract(np.abs, lambda perm: (np.abs, perm), ARRAYS, FEW)


def test_a_wrong_layout_rule_is_caught() -> None:
    def cumulate(array: Any) -> Any:
        return np.cumsum(array, axis=0)

    breach(layout_rule_contract(cumulate, lambda perm: (cumulate, perm), ARRAYS), "differ|is not")


def calibrator(merge: Callable[[float, float], float]) -> Callable[[], None]:
    return calibrator_contract(
        lambda: 0.0, ARRAYS, observe=lambda old, array: max(old, float(np.abs(array).max())), merge=merge,
        scale=lambda top: top / 127, to_json=str, from_json=float, examples=FEW,
    )  # fmt: skip


test_a_right_calibrator_passes = calibrator(max)


def test_a_calibrator_that_depends_on_the_order_is_caught() -> None:
    breach(calibrator(lambda a, b: a * 0.9 + b * 0.1), "merging")


# -- comparison ----------------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("one", "two", "rtol", "words"), [
    ([1.0], [1.0], 0, ""), ([NAN, INF], [NAN, INF], 0, ""), ([NAN], [1.0], 1, "NaN"), ([INF], [-INF], 1, "infinities"),
    ([INF], [1e30], 1, "infinities"), ([0.0], [-0.0], 0, "1 of 1"), ([0.0], [-0.0], 1e-9, ""), ([1.0], [1.1], 0.2, ""),
    ([1.0], [1.1], 0.01, "1 of 1"), ([[1.0]], [1.0], 1, "is not"),
])  # fmt: skip
def test_differences(one: Any, two: Any, rtol: float, words: str) -> None:
    found = difference(np.array(one, np.float32), np.array(two, np.float32), rtol)
    assert bool(found) is bool(words)
    assert words in found


def test_element_types_count() -> None:
    assert "is not" in difference(np.zeros(1, np.float32), np.zeros(1, np.float64), 1, 1)


def test_a_graph_that_does_not_run_says_why() -> None:
    module = find(modules(ops=["Relu"], min_size=1, max_size=1), lambda m: True)
    with pytest.raises(RunFailed, match="why"):
        run(module, {}, ["no_such_node:0"])


def test_laws_run_as_often_as_asked() -> None:
    seen = []
    law(lambda number: seen.append(number), st.integers(), 37)()
    assert len(seen) >= 37
