"""The rewriting machinery: what matches, what refuses and why, what a rewrite leaves behind, and when the driver stops."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from tfgraphopt.errors import PipelineError
from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.ir import DType, Graph, Node, OpDef, OpTable, Shape, Tensor, TensorType, Value
from tfgraphopt.ir.verify import verify_graph
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps, RewriteLog, apply_patterns, explain_rule

F32 = TensorType(DType.FLOAT, Shape((2, 3)))


@pytest.fixture
def graph() -> Graph:
    return Graph("main", tf_op_table())


def add(graph: Graph, op: str, *inputs: Value, name: str = "", **attributes: Any) -> Value:
    control = attributes.pop("control", ())
    device = attributes.pop("device", "")
    node = graph.add(
        op, inputs, attributes, name=name or None, types=[F32], control=control, device=device, origin=(name or op,)
    )
    return node.outputs[0]


def const(graph: Graph, value: Any, name: str = "c") -> Value:
    tensor = Tensor.of(value, DType.FLOAT)
    node = graph.add(
        "Const", [], {"value": tensor, "dtype": tensor.dtype}, name=name, types=[tensor.type], origin=(name,)
    )
    return node.output


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph]


@attrs.frozen
class NegPair(Pattern):
    """Neg of Neg."""

    name: ClassVar[str] = "neg-pair"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.Neg(op.Neg(x))

    def rewrite(self, op: Draft, m: Match) -> Any:
        return m.x


@attrs.frozen
class Swish(Pattern):
    """x * Sigmoid(x), which becomes Elu so that it is seen."""

    name: ClassVar[str] = "swish"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.Mul(x, op.Sigmoid(x))

    def rewrite(self, op: Draft, m: Match) -> Any:
        return op.Elu(m.x)


# -- matching ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
def test_commutative_operands_match_in_any_order(graph: Graph, swapped: bool) -> None:
    x = graph.add_input("x", F32)
    pair = [x, add(graph, "Sigmoid", x)]
    graph.set_outputs([add(graph, "Mul", *(pair[::-1] if swapped else pair), name="mul")])
    assert apply_patterns(graph, [Swish()]).counts == {"swish": 1}
    assert ops(graph) == ["Elu"]
    verify_graph(graph)


def test_one_name_means_one_value(graph: Graph) -> None:
    x, y = graph.add_input("x", F32), graph.add_input("y", F32)
    graph.set_outputs([add(graph, "Mul", y, add(graph, "Sigmoid", x), name="mul")])
    assert not apply_patterns(graph, [Swish()]).applied
    (why,) = explain_rule(graph, Swish())
    assert (why.node, why.matched, why.size) == ("mul", 2, 2)
    assert why.reason == "'x' is argument 'y' in one place and argument 'x' in another"


def test_one_name_may_stand_for_equal_constants(graph: Graph) -> None:
    x = graph.add_input("x", F32)

    @attrs.frozen
    class AddSub(Pattern):
        name: ClassVar[str] = "add-sub"

        def pattern(self, op: PatternOps, x: Value, c: Tensor) -> Any:
            return op.Sub(op.AddV2(x, c), c)

        def rewrite(self, op: Draft, m: Match) -> Any:
            assert isinstance(m.c, Tensor)
            return op.Relu(m.x)

    total = add(graph, "AddV2", x, const(graph, [1, 2, 3], "one"))
    graph.set_outputs([add(graph, "Sub", total, const(graph, [1, 2, 3], "two"))])
    apply_patterns(graph, [AddSub()])
    assert ops(graph) == ["Relu"]  # and both constants are gone with their only readers


@attrs.frozen
class WideLeaky(Pattern):
    """LeakyRelu with a slope in a range."""

    name: ClassVar[str] = "wide-leaky"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op["LeakyRelu", "Relu"](x, T={DType.FLOAT}, alpha=lambda a: a > 0.25)

    def rewrite(self, op: Draft, m: Match) -> Any:
        return op.Elu(m.x)


def test_attributes_equal_belong_or_satisfy(graph: Graph) -> None:
    x = graph.add_input("x", F32)
    outputs = [
        add(graph, "LeakyRelu", x, alpha=0.5),
        add(graph, "LeakyRelu", x, alpha=0.125, name="low"),
        add(graph, "Relu", x),
    ]
    graph.set_outputs(outputs)
    apply_patterns(graph, [WideLeaky()])
    assert sorted(ops(graph)) == ["Elu", "LeakyRelu", "Relu"]
    assert {e.node: e.reason for e in explain_rule(graph, WideLeaky())} == {
        "low": "attribute 'alpha' of LeakyRelu 'low' is 0.125", "Relu": "attribute 'alpha' of Relu 'Relu' is None",
    }  # fmt: skip


@attrs.frozen
class TimesTwo(Pattern):
    """x * 2."""

    name: ClassVar[str] = "times-two"

    def pattern(self, op: PatternOps, x: Value) -> Any:
        return op.Mul(x, op.any_of(2, op.near(4, 0.01)))

    def rewrite(self, op: Draft, m: Match) -> Any:
        return op.AddV2(m.x, m.x)


@pytest.mark.parametrize(
    ("factor", "fires"), [(2, True), (2.001, False), (4.03, True), (4.1, False), ([2, 2, 2], True), ([2, 3, 2], False)]
)
def test_literals(graph: Graph, factor: Any, fires: bool) -> None:
    x = graph.add_input("x", F32)
    graph.set_outputs([add(graph, "Mul", x, const(graph, factor))])
    assert bool(apply_patterns(graph, [TimesTwo()]).applied) is fires


def test_an_optional_node_is_an_alternative(graph: Graph) -> None:
    @attrs.frozen
    class MaybeBias(Pattern):
        name: ClassVar[str] = "maybe-bias"

        def pattern(self, op: PatternOps, x: Value, y: Value, b: Value) -> Any:
            product = op.MatMul(x, y)
            return op.Relu(op.any_of(product, op.BiasAdd(product, b)))

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.Elu(m.x) if m.b is None else op.Selu(m.x)

    x, y, b = (graph.add_input(n, F32) for n in "xyb")
    graph.set_outputs([
        add(graph, "Relu", add(graph, "MatMul", x, y)), add(graph, "Relu", add(graph, "BiasAdd", add(graph, "MatMul", x, y), b)),
    ])  # fmt: skip
    apply_patterns(graph, [MaybeBias()])
    assert ops(graph) == ["Elu", "Selu"]


# -- results -------------------------------------------------------------------------------------------------------------


@attrs.frozen
class SwapParts(Pattern):
    """Both halves of a Split, negated, from one Neg."""

    name: ClassVar[str] = "negate-first"

    def pattern(self, op: PatternOps, axis: Value, x: Value) -> Any:
        split = op.Split(axis, x, num_split=2)
        return op.Neg(split[0]), op.Neg(split[1])

    def rewrite(self, op: Draft, m: Match) -> Any:
        return op.Split(m.axis, op.Neg(m.x), num_split=2)


def _split(graph: Graph) -> tuple[Value, Value]:
    axis = graph.add_input("axis", TensorType(DType.INT32, Shape(())))
    x = graph.add_input("x", F32)
    first, second = graph.add("Split", [axis, x], {"num_split": 2}, name="split", types=[F32, F32]).outputs
    return first, second


def test_several_results_are_replaced_together(graph: Graph) -> None:
    first, second = _split(graph)
    outputs = [add(graph, "Neg", first, name="a"), add(graph, "Neg", second, name="b")]
    graph.set_outputs([*outputs, add(graph, "Relu", outputs[1])])
    (done,) = apply_patterns(graph, [SwapParts()]).applied
    assert ops(graph) == ["Neg", "Split", "Relu"]
    assert done.removed == ("b", "a", "split")
    assert [v.name for v in graph.outputs] == ["a/split", "a/split:1", "Relu"]
    verify_graph(graph)


def test_a_missing_second_root_is_no_match(graph: Graph) -> None:
    first, second = _split(graph)
    graph.set_outputs([add(graph, "Neg", first, name="a"), add(graph, "Relu", second, name="b")])
    assert not apply_patterns(graph, [SwapParts()]).applied


def test_every_result_of_one_node(graph: Graph) -> None:
    @attrs.frozen
    class DropSplit(Pattern):
        name: ClassVar[str] = "drop-split"

        def pattern(self, op: PatternOps, axis: Value, x: Value) -> Any:
            return op.Split(axis, x)

        def rewrite(self, op: Draft, m: Match) -> Any:
            return [m.x, op.Neg(m.x)]

    graph.set_outputs(_split(graph))
    apply_patterns(graph, [DropSplit()])
    assert [v.name for v in graph.outputs] == ["x", "split/neg"]


def test_types_names_origins_and_device_are_carried_over(graph: Graph) -> None:
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape((None, 3))))
    sigmoid = add(graph, "Sigmoid", x, name="s", device="/CPU:0")
    graph.set_outputs([add(graph, "Mul", x, sigmoid, name="scope/mul", device="/CPU:0")], ["scope/mul:0"])
    apply_patterns(graph, [Swish()])
    (node,) = graph
    assert (node.name, node.origin, node.device, node.output.type) == (
        "scope/mul/elu",
        ("s", "scope/mul"),
        "/CPU:0",
        F32,
    )
    assert graph.output_names == ("scope/mul:0",)


def test_a_result_of_another_type_is_an_error_that_names_the_rule(graph: Graph) -> None:
    @attrs.frozen
    class Wrong(Pattern):
        name: ClassVar[str] = "wrong"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Neg(x)

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.IsNan(m.x)

    graph.set_outputs([add(graph, "Neg", graph.add_input("x", F32))])
    version = graph.version
    with pytest.raises(TypeError, match="rule 'wrong'"):
        apply_patterns(graph, [Wrong()])
    assert graph.version == version


# -- refusals ------------------------------------------------------------------------------------------------------------


def refusal(graph: Graph, rule: Pattern) -> str:
    version = graph.version
    log = apply_patterns(graph, [rule])
    assert not log.applied
    assert graph.version == version, "a refusal touches the graph"
    (reason,) = log.refused.values()
    assert reason == explain_rule(graph, rule)[0].reason
    return reason


def test_an_inner_result_that_others_read_is_not_taken_away(graph: Graph) -> None:
    inner = add(graph, "Neg", graph.add_input("x", F32), name="inner")
    graph.set_outputs([add(graph, "Neg", inner, name="outer"), add(graph, "Relu", inner, name="reader")])
    assert refusal(graph, NegPair()) == "Neg 'inner' is also read by Relu 'reader'"


def test_an_inner_result_that_is_fetched_is_not_taken_away(graph: Graph) -> None:
    inner = add(graph, "Neg", graph.add_input("x", F32), name="inner")
    graph.set_outputs([add(graph, "Neg", inner, name="outer"), inner])
    assert refusal(graph, NegPair()) == "Neg 'inner' is also read by the graph's outputs"


def test_different_devices(graph: Graph) -> None:
    inner = add(graph, "Neg", graph.add_input("x", F32), device="/CPU:0")
    graph.set_outputs([add(graph, "Neg", inner, device="/GPU:0")])
    assert refusal(graph, NegPair()) == "its nodes are on different devices: /CPU:0, /GPU:0"


def test_a_control_edge_moves_to_the_replacement(graph: Graph) -> None:
    x = graph.add_input("x", F32)
    first = graph.add("NoOp", name="first")
    sigmoid = add(graph, "Sigmoid", x, control=[first])
    product = add(graph, "Mul", x, sigmoid)
    assert sigmoid.producer is not None
    late = graph.add("NoOp", name="late", control=[sigmoid.producer])
    graph.set_outputs([product])
    graph.set_keep({"late": late})
    apply_patterns(graph, [Swish()])
    assert graph.outputs[0].producer is not None
    assert graph.outputs[0].producer.control == (first,)
    assert graph.node("late").control == (first,)
    verify_graph(graph)


def test_a_control_edge_with_nowhere_to_go_refuses(graph: Graph) -> None:
    first = graph.add("NoOp", name="first")
    inner = add(graph, "Neg", graph.add_input("x", F32))
    graph.set_outputs([add(graph, "Neg", inner, control=[first])])
    assert (
        refusal(graph, NegPair()) == "it waits for 'first' by a control edge, and no new node could take the edge over"
    )


def test_a_node_that_is_waited_for_only_does_not_match_for_ever(graph: Graph) -> None:
    inner = add(graph, "Neg", graph.add_input("x", F32))
    outer = add(graph, "Neg", inner, name="outer")
    assert outer.producer is not None
    graph.set_keep({"end": graph.add("NoOp", name="end", control=[outer.producer])})
    assert apply_patterns(graph, [NegPair()]).counts == {"neg-pair": 1}
    assert ops(graph) == ["NoOp"]


def test_stateful_nodes_are_left_alone(graph: Graph) -> None:
    @attrs.frozen
    class Dice(Pattern):
        name: ClassVar[str] = "dice"

        def pattern(self, op: PatternOps, shape: Value) -> Any:
            return op.RandomUniform(shape)

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.const(np.zeros((2, 3), np.float32))

    shape = graph.add_input("shape", TensorType(DType.INT32, Shape((2,))))
    graph.set_outputs([add(graph, "RandomUniform", shape, dtype=DType.FLOAT, name="roll")])
    assert refusal(graph, Dice()) == "RandomUniform 'roll' is stateful"


def test_a_rule_refuses_after_it_has_written(graph: Graph) -> None:
    @attrs.frozen
    class Hesitant(Pattern):
        name: ClassVar[str] = "hesitant"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Neg(x)

        def rewrite(self, op: Draft, m: Match) -> Any:
            op.Relu(op.Elu(m.x))
            raise NoMatch("not today")

    graph.set_outputs([add(graph, "Neg", graph.add_input("x", F32))])
    assert refusal(graph, Hesitant()) == "not today"


def test_operands_that_come_too_late(graph: Graph) -> None:
    @attrs.frozen
    class Both(Pattern):
        name: ClassVar[str] = "both"

        def pattern(self, op: PatternOps, x: Value, y: Value) -> Any:
            return op.Neg(x), op.AddV2(x, y)

        def rewrite(self, op: Draft, m: Match) -> Any:
            total = op.AddV2(m.x, m.y)
            return op.Neg(total), total

    x = graph.add_input("x", F32)
    neg = add(graph, "Neg", x, name="neg")
    y = add(graph, "Exp", neg, name="late")
    graph.set_outputs([neg, add(graph, "AddV2", x, y)])
    assert refusal(graph, Both()) == "Exp 'late' comes only after 'neg', which is replaced"


def test_explanations_name_the_node_that_stopped_the_match(graph: Graph) -> None:
    x = graph.add_input("x", F32)
    graph.set_outputs([add(graph, "Neg", add(graph, "Relu", x, name="relu"), name="a"), add(graph, "Neg", x, name="b")])
    found = {e.node: (e.fires, e.matched, e.reason) for e in explain_rule(graph, NegPair())}
    assert found == {"a": (False, 1, "Relu 'relu' is not Neg"), "b": (False, 1, "argument 'x' is not Neg")}


def test_an_explanation_says_what_a_rule_would_write(graph: Graph) -> None:
    x = graph.add_input("x", F32)
    graph.set_outputs([add(graph, "Mul", x, add(graph, "Sigmoid", x))])
    version = graph.version
    (why,) = explain_rule(graph, Swish())
    assert (why.fires, why.reason, graph.version) == (True, "becomes Elu", version)


# -- driver --------------------------------------------------------------------------------------------------------------


def chain(graph: Graph, op: str, count: int) -> Value:
    value = graph.add_input("x", F32)
    for index in range(count):
        value = add(graph, op, value, name=f"n{index}")
    graph.set_outputs([value])
    return value


def test_a_long_chain_takes_time_in_proportion(graph: Graph) -> None:
    looked: list[object] = []

    def count(dtype: object) -> bool:
        looked.append(dtype)
        return True

    @attrs.frozen
    class Counted(Pattern):
        name: ClassVar[str] = "counted"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Neg(op.Neg(x, T=count))

        def rewrite(self, op: Draft, m: Match) -> Any:
            return m.x

    chain(graph, "Neg", 2000)
    log = apply_patterns(graph, [Counted()])
    assert log.counts == {"counted": 1000}
    assert len(graph) == 0
    assert len(looked) < 4 * 2000


def test_a_rewrite_makes_others_possible_upstream_and_downstream(graph: Graph) -> None:
    @attrs.frozen
    class ReluAway(Pattern):
        name: ClassVar[str] = "relu-away"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Relu(x)

        def rewrite(self, op: Draft, m: Match) -> Any:
            return m.x

    x = graph.add_input("x", F32)
    inner = add(graph, "Neg", x)
    outer = add(graph, "Neg", add(graph, "Relu", inner))
    graph.set_outputs([outer])
    log = apply_patterns(graph, [NegPair(), ReluAway()])
    assert [a.rule for a in log.applied] == ["relu-away", "neg-pair"]
    assert graph.outputs == (x,)


def test_a_reader_that_goes_away_makes_a_match_possible(graph: Graph) -> None:
    inner = add(graph, "Neg", graph.add_input("x", F32))
    outer, other = add(graph, "Neg", inner), add(graph, "Sigmoid", inner)
    graph.set_outputs([outer, add(graph, "Mul", graph.inputs[0], other)])

    @attrs.frozen
    class SigmoidAway(Pattern):
        name: ClassVar[str] = "sigmoid-away"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Sigmoid(op.Neg(x).shared())

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.Exp(m.x)

    log = apply_patterns(graph, [NegPair(), SigmoidAway()])
    assert [a.rule for a in log.applied] == ["sigmoid-away", "neg-pair"]


def test_rules_that_undo_each_other_are_named(graph: Graph) -> None:
    def swap(this: str, that: str) -> Pattern:
        @attrs.frozen
        class Swap(Pattern):
            name: ClassVar[str] = f"{this}-to-{that}".lower()

            def pattern(self, op: PatternOps, x: Value) -> Any:
                return op[this](x)

            def rewrite(self, op: Draft, m: Match) -> Any:
                return op[that](m.x)

        return Swap()

    chain(graph, "Exp", 1)
    with pytest.raises(PipelineError, match=r"exp-to-tanh.*|tanh-to-exp.*"):
        apply_patterns(graph, [swap("Exp", "Tanh"), swap("Tanh", "Exp")])


def test_larger_patterns_go_first(graph: Graph) -> None:
    @attrs.frozen
    class Relu(Pattern):
        name: ClassVar[str] = "relu"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Relu(x)

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.Elu(m.x)

    @attrs.frozen
    class ReluOfNeg(Pattern):
        name: ClassVar[str] = "relu-of-neg"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op.Relu(op.Neg(x))

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op.Selu(m.x)

    x = graph.add_input("x", F32)
    graph.set_outputs([add(graph, "Relu", add(graph, "Neg", x)), add(graph, "Relu", x)])
    assert apply_patterns(graph, [Relu(), ReluOfNeg()]).counts == {"relu": 1, "relu-of-neg": 1}
    assert ops(graph) == ["Selu", "Elu"]


@attrs.define
class Limit:
    """Allows so many rewrites."""

    left: int
    asked: list[str] = attrs.field(factory=list)

    def allows(self, rule: Pattern, graph: Graph, node: Node) -> bool:
        self.asked.append(node.name)
        self.left -= 1
        return self.left >= 0


@pytest.mark.parametrize("limit", range(6))
def test_a_budget_stops_after_a_prefix_of_the_rewrites(limit: int) -> None:
    def run(left: int) -> list[str]:
        graph = Graph("main", tf_op_table())
        chain(graph, "Neg", 10)
        return [a.root for a in apply_patterns(graph, [NegPair()], Limit(left)).applied]

    assert run(limit) == run(100)[:limit]


def test_logs_add_up(graph: Graph) -> None:
    chain(graph, "Neg", 4)
    log = RewriteLog()
    assert apply_patterns(graph, [NegPair()], log=log) is log
    assert apply_patterns(graph, [NegPair()], log=log).counts == {"neg-pair": 2}


# -- other dialects ------------------------------------------------------------------------------------------------------


def test_layers_of_another_dialect_are_rewritten_by_their_own_definitions() -> None:
    same = OpDef("acme.negate", infer=lambda inputs, attrs: [inputs[0].type])
    fused = OpDef("acme.twice", infer=lambda inputs, attrs: [inputs[0].type])
    graph = Graph("body", OpTable([same, fused]), dialect="acme")
    x = graph.add_input("x", F32)
    inner = graph.add("acme.negate", [x], {"mode": "fast"}).output
    graph.set_outputs([graph.add("acme.negate", [inner]).output])

    @attrs.frozen
    class Twice(Pattern):
        name: ClassVar[str] = "twice"

        def pattern(self, op: PatternOps, x: Value) -> Any:
            return op["acme.negate"](op["acme.negate"](x, mode="fast"))

        def rewrite(self, op: Draft, m: Match) -> Any:
            return op["acme.twice"](m.x, mode="slow")

    apply_patterns(graph, [Twice()])
    (node,) = graph
    assert (node.op, node.attrs["mode"], node.output.type, node.name) == (
        "acme.twice",
        "slow",
        F32,
        "acme.negate_1/twice",
    )
