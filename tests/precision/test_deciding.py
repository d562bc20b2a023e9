"""Which layers go low, and why the others do not; the minimum cut against every assignment there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout.drawing import drawings

from precision.bodies import Writer, convolution, decider
from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Graph, Node
from tfgraphopt_precision import Objection, PrecisionPlan, PrecisionRule, Range, Ranges
from tfgraphopt_precision.costs import cast_bytes, saving
from tfgraphopt_precision.deciding import CastProblem, Stance
from tfgraphopt_precision.rules import Surroundings
from tfgraphopt_precision.slots import Slots, slots_of


def normalised() -> Graph:
    """A convolution, a layer normalisation in single ops, a softmax."""
    w = Writer(x=(1, 64, 32, 32))
    y = convolution(w, w["x"], 64, "conv")
    mean = w.at("mean").reduce(y, "avg", (1,), True)
    centred = w.at("centred").elementwise(y, mean, "sub")
    square = w.at("square").elementwise(centred, centred, "prod")
    variance = w.at("variance").reduce(square, "avg", (1,), True)
    safe = w.at("safe").elementwise(variance, w.at("eps").scalar(1e-6, variance), "sum")
    root = w.at("root").unary(safe, "sqrt")
    normal = w.at("normal").elementwise(centred, root, "div")
    again = convolution(w, normal, 16, "again")
    return w.done(w.at("softmax").softmax(convolution(w, w.at("relu").activation(again, "relu"), 8, "last"), 1))


def test_sensitive_layers_stay_and_say_why() -> None:
    plan = decider().decide(normalised())
    assert {"conv", "again", "relu", "last"} <= set(plan.low)
    assert {"mean", "square", "variance", "safe", "root", "softmax"} <= set(plan.high)
    assert all(plan.layers[n].reason and plan.layers[n].origin for n in plan.high)
    assert plan.layers["square"].origin == "rule:sensitive-binary"
    assert plan.flops_share == 1.0
    assert plan.layers["square"].nodes == ("tf/square",)


def test_a_lone_layer_between_float32_ones_costs_no_casts() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = w.at("first").unary(w["x"], "log")
    y = w.at("relu").activation(y, "relu")
    graph = w.done(w.at("log").unary(y, "log"))
    plan = decider().decide(graph)
    assert plan.low == ()
    assert plan.layers["relu"].origin == "casts"


def test_a_chain_that_saves_more_than_its_casts_goes_low() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = w.at("first").unary(w["x"], "log")
    for index in range(8):
        y = w.at(f"relu{index}").activation(y, "relu")
    plan = decider().decide(w.done(w.at("log").unary(y, "log")))
    assert set(plan.high) == {"first", "log"}


def test_constants_beyond_the_type_stay_and_no_wish_changes_that() -> None:
    w = Writer(x=(2, 8))
    masked = w.at("mask").elementwise(w["x"], w.at("c").constant(np.full((1, 8), -1e9, np.float32)), "prod")
    y = w.at("add").elementwise(w["x"], masked, "sum")
    graph = w.done(y)
    plan = decider(lower=["*"]).decide(graph)
    assert plan.layers["mask"].precision == "fp32"
    assert "65504" in plan.layers["mask"].reason
    assert decider("bf16").decide(graph).layers["mask"].origin != "rule:large-constants"
    assert decider().decide(graph).layers["add"].precision == "fp32"  # its operand is -1e9


def test_infinite_constants_are_exact_in_every_type() -> None:
    w = Writer(x=(2, 8))
    y = w.at("max").elementwise(w["x"], w.at("c").constant(np.array([[-np.inf] * 8], np.float32)), "max")
    assert decider(lower=["*"]).decide(w.done(y)).low == ("max",)


def test_small_weights_stay() -> None:
    w = Writer(x=(1, 4, 8, 8))
    graph = w.done(convolution(w, w["x"], 4, "conv", scale=1e-6))
    assert decider().decide(graph).layers["conv"].origin == "rule:small-constants"
    assert decider(lower=["conv"]).decide(graph).low == ("conv",)


def test_measured_ranges_keep_layers() -> None:
    w = Writer(x=(1, 4, 64, 64))
    graph = w.done(convolution(w, convolution(w, w["x"], 64, "first"), 64, "second"))
    ranges = Ranges({"first": Range(-1.0, 5e4, 5e4)})
    plan = decider(ranges=ranges).decide(graph)
    assert plan.layers["first"].origin == plan.layers["second"].origin == "rule:measured-range"
    assert "5e+04" in plan.layers["first"].reason
    assert decider(ranges=ranges, max_value=65504.0).decide(graph).high == ()
    assert decider("bf16", ranges=ranges).decide(graph).high == ()


def test_depth_limits() -> None:
    w = Writer(x=(1, 2048))
    summed = w.done(w.at("sum").reduce(w["x"], "sum", (1,), True))
    assert decider().decide(summed).layers["sum"].origin == "rule:reduction-depth"
    w = Writer(x=(256, 512))
    product = w.done(w.at("mm").matrix_multiply(w["x"], w.at("k").constant(np.ones((512, 256), np.float32))))
    assert decider().decide(product).low == ("mm",)
    assert decider(max_product_depth=256).decide(product).layers["mm"].origin == "rule:product-depth"


def test_layers_that_tensorrt_has_in_float32_only_say_so() -> None:
    w = Writer(x=(4, 4))
    b = w.at("numbers")
    line = w.at("line").linspace((4, 4), b.constant(np.float32(0.0)), b.constant(np.ones(2, np.float32)))
    plan = decider(lower=["*"]).decide(w.done(w.at("sum").elementwise(line, w["x"], "sum")))
    assert plan.layers["line"].origin == "type"
    assert "float16" in plan.layers["line"].reason


def test_the_model_s_own_half_layers_are_left_alone() -> None:
    w = Writer(x=(1, 4, 8, 8))
    half = w.at("down").cast(w["x"], DType.HALF)
    y = w.at("up").cast(w.at("own").activation(half, "relu"), DType.FLOAT)
    plan = decider(keep=["*"]).decide(w.done(convolution(w, y, 4, "conv")))
    assert "own" not in plan.layers
    assert plan.layers["conv"].origin == "user"


@pytest.mark.parametrize("pattern", ["conv", "tf/conv", "op=trt.convolution", "type=f32(1,16,*)", "name=*onv"])
def test_patterns_choose_by_name_op_and_type(pattern: str) -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = w.at("relu").activation(convolution(w, w["x"], 16, "conv"), "relu")
    graph = w.done(convolution(w, w.at("wide").concatenation([y, w["x"]], 1), 64, "other"))
    assert "conv" in decider(keep=[pattern]).decide(graph).high
    assert "conv" in decider(lower=[pattern], rules=[ALWAYS]).decide(graph).low


ALWAYS = PrecisionRule("always", lambda node, around: Objection("a rule of a third party"))


def test_wrong_patterns_and_options_are_errors() -> None:
    with pytest.raises(ConfigError, match="chooses by 'kind'"):
        decider(keep=["kind=x"])


def test_soft_objections_are_weighed_against_casts() -> None:
    w = Writer(x=(1, 64, 32, 32))
    y = convolution(w, w["x"], 64, "a")
    graph = w.done(convolution(w, w.at("relu").activation(y, "relu"), 64, "b"))
    rule = PrecisionRule("soft", lambda node, around: Objection("rather not", 0.5), ("trt.activation",))
    assert "relu" in decider(rules=[rule]).decide(graph).low
    strong = PrecisionRule("strong", lambda node, around: Objection("rather not", 50.0), ("trt.activation",))
    plan = decider(rules=[strong]).decide(graph)
    assert plan.layers["relu"] == PrecisionPlan.from_json(plan.to_json()).layers["relu"]
    assert (plan.layers["relu"].precision, plan.layers["relu"].origin) == ("fp32", "rule:strong")


# -- the minimum cut -----------------------------------------------------------------------------------------------------


def cost(
    graph: Graph, around: Surroundings, slots: dict[Node, Slots], stances: dict[Node, Stance], high: set[Node]
) -> float:
    """What an assignment costs, written down directly."""
    total = 0.0
    for node, stance in stances.items():
        if stance.forced and (stance.forced == "fp32") != (node in high):
            return float("inf")
        total += saving(node, slots[node], around.mode) * (node in high and not stance.forced)
        total += stance.penalty * (node not in high and not stance.forced)
    for value in [*graph.inputs, *(n.outputs[i] for n, s in slots.items() for i in s.outputs)]:
        made_high = value.producer is None or value.producer in high
        readers = {n in high for n, i in value.uses if n in slots and i in slots[n].inputs}
        readers |= {True} if value.is_output else set()
        total += cast_bytes(value, around.mode) * ((not made_high) in readers)
    return total


def subsets(nodes: Iterable[Node]) -> Iterable[set[Node]]:
    nodes = list(nodes)
    return (set(c) for r in range(len(nodes) + 1) for c in itertools.combinations(nodes, r))


@settings(max_examples=60, deadline=None)
@given(drawings(dynamic=False), st.data())
def test_the_cut_is_optimal(drawn: tuple[Graph, list[np.ndarray]], data: st.DataObject) -> None:
    graph, around = drawn[0], decider().around
    slots = {n: s for n in graph if (s := slots_of(n))}
    if len(slots) > 10:
        return
    stance = st.builds(Stance, forced=st.sampled_from(["", "", "", "fp32", "fp16"]), penalty=st.integers(0, 2000))
    stances = {n: data.draw(stance) for n in slots}
    found = CastProblem(graph, around, slots, stances).float32_layers()
    best = min(cost(graph, around, slots, stances, high) for high in subsets(slots))
    assert cost(graph, around, slots, stances, found) == best
    smaller = [h for h in subsets(found) if h < found and cost(graph, around, slots, stances, h) == best]
    assert not smaller
