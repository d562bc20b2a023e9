from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ir.drawing import OPS, add_node, every_value, node_names
from tfgraphopt.errors import MutationError
from tfgraphopt.ir import DType, Graph, Node, Shape, Tensor, TensorType, Value, constant_of
from tfgraphopt.ir.text import parse_graph, print_graph
from tfgraphopt.ir.verify import graph_violations

FLOAT = TensorType(DType.FLOAT, Shape((2,)))


class _Mirror:
    """A listener that knows what is in the graph from what it was told alone."""

    def __init__(self) -> None:
        self.nodes: set[Node] = set()
        self.told = 0

    def added(self, node: Node) -> None:
        assert node not in self.nodes
        self.nodes.add(node)
        self.told += 1

    def erased(self, node: Node) -> None:
        assert not node.is_erased
        self.nodes.remove(node)
        self.told += 1

    def changed(self, node: Node) -> None:
        assert node in self.nodes
        self.told += 1


class Mutations(RuleBasedStateMachine):
    """Any sequence of primitives leaves a sound graph; one that is refused leaves it as it was."""

    @initialize()
    def start(self) -> None:
        self.graph = Graph("g", OPS)
        self.mirror = _Mirror()
        self.graph.attach(self.mirror)
        self.graph.add_input("x", FLOAT)

    def _attempt(self, change: Any) -> None:
        before, version = print_graph(self.graph), self.graph.version
        try:
            change()
        except MutationError:
            assert print_graph(self.graph) == before
            assert self.graph.version == version

    def _pick(self, data: st.DataObject) -> Node:
        return data.draw(st.sampled_from(list(self.graph)))

    def _value(self, data: st.DataObject) -> Value:
        return data.draw(st.sampled_from(every_value(self.graph)))

    @rule(data=st.data())
    def add(self, data: st.DataObject) -> None:
        add_node(data.draw, self.graph, odd_attrs=False)

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data(), name=node_names)
    def add_in_the_middle(self, data: st.DataObject, name: str) -> None:
        value, before, waited = self._value(data), self._pick(data), self._pick(data)
        self._attempt(
            lambda: self.graph.add("Identity", [value], name=name, before=before, control=[waited], types=[value.type])
        )

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        node = self._pick(data)
        self._attempt(lambda: self.graph.erase(node))

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data())
    def move(self, data: st.DataObject) -> None:
        node, before = self._pick(data), self._pick(data)
        self._attempt(lambda: self.graph.move(node, before))

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data())
    def set_input(self, data: st.DataObject) -> None:
        node, value = self._pick(data), self._value(data)
        if node.inputs:
            index = data.draw(st.integers(0, len(node.inputs) - 1))
            self._attempt(lambda: node.set_input(index, value))

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data())
    def set_control(self, data: st.DataObject) -> None:
        node, waited = self._pick(data), [self._pick(data), self._pick(data)]
        self._attempt(lambda: node.set_control(waited))

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data(), value=st.integers())
    def set_attr(self, data: st.DataObject, value: int) -> None:
        self._pick(data).set_attr("_note", value)

    @rule(data=st.data())
    def replace_uses(self, data: st.DataObject) -> None:
        old, new = self._value(data), self._value(data)
        self._attempt(lambda: old.replace_uses(new))

    @rule(data=st.data())
    def set_outputs(self, data: st.DataObject) -> None:
        values = data.draw(st.lists(st.sampled_from(every_value(self.graph)), max_size=2, unique=True))
        self.graph.set_outputs(values, [f"out_{i}" for i in range(len(values))])

    @precondition(lambda self: len(self.graph) > 0)
    @rule(data=st.data())
    def set_keep(self, data: st.DataObject) -> None:
        node = self._pick(data)
        self.graph.set_keep({node.name: node})

    @invariant()
    def sound(self) -> None:
        assert graph_violations(self.graph) == []

    @invariant()
    def listeners_know(self) -> None:
        assert self.mirror.nodes == set(self.graph)

    @invariant()
    def reversal_agrees(self) -> None:
        assert list(reversed(self.graph)) == list(self.graph)[::-1]


Mutations.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
test_mutations = Mutations.TestCase


def chain(length: int) -> Graph:
    graph = Graph("g", OPS)
    value = graph.add_input("x", FLOAT)
    for i in range(length):
        value = graph.add("Relu", [value], name=f"r{i}", types=[FLOAT]).output
    graph.set_outputs([value])
    return graph


def test_iteration_sees_what_is_added_behind_but_not_before() -> None:
    graph, seen = chain(3), []
    for node in graph:
        seen.append(node.name)
        if node.name == "r1":
            graph.add("NoOp", name="early", before=node)
            graph.add("NoOp", name="late")
    assert seen == ["r0", "r1", "r2", "late"]


def test_iteration_survives_erasure_of_this_and_the_next_nodes() -> None:
    graph, seen = chain(5), []
    for node in graph:
        seen.append(node.name)
        if node.name == "r1":
            graph.set_outputs([node.output])
            for name in ("r4", "r3", "r2"):
                graph.erase(graph.node(name))
            graph.set_outputs([graph.node("r0").output])
            graph.erase(node)
            graph.add("NoOp", name="late")
    assert seen[:2] == ["r0", "r1"]
    assert not {"r2", "r3", "r4"} & set(seen)


def test_insertion_at_one_place_never_runs_out_of_order() -> None:
    graph = chain(2)
    last = graph.node("r1")
    for _ in range(300):
        graph.add("NoOp", before=last)
    assert graph_violations(graph) == []
    assert [n.name for n in graph][-1] == "r1"


def test_taken_names_get_a_suffix_in_linear_time() -> None:
    graph = Graph("g", OPS)
    names = [graph.add("NoOp", name="n").name for _ in range(2000)]
    assert len(set(names)) == 2000
    assert names[:3] == ["n", "n_1", "n_2"]
    graph.reserve("fresh")
    assert graph.add("NoOp", name="fresh").name == "fresh_1"


def test_whoever_waited_for_an_erased_node_waits_for_what_it_waited_for() -> None:
    graph = parse_graph(
        "graph @g() -> () { %a = NoOp %c = Const {value = f32[] 1} %b = Relu(%c) ^a : f32[] %d = NoOp ^b }", OPS
    )
    graph.erase(graph.node("b"))
    assert [n.name for n in graph.node("d").control] == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.erase(g.node("r0")), "cannot be erased"),
        (lambda g: g.erase(g.node("r2")), "used by the graph"),
        (lambda g: g.node("r0").set_input(0, g.node("r1").output), "only later"),
        (lambda g: g.node("r0").set_input(0, chain(1).inputs[0]), "another graph"),
        (lambda g: g.node("r0").set_control([g.node("r1")]), "does not come before"),
        (lambda g: g.move(g.node("r2"), g.node("r0")), "operand would come after"),
        (lambda g: g.move(g.node("r0"), g.node("r2")), "reader would come before"),
        (lambda g: g.move(g.node("r0"), chain(1).node("r0")), "nothing can stand before"),
        (lambda g: g.add("NoOp", before=chain(1).node("r0")), "nothing can stand before"),
        (lambda g: g.add("NoOp", control=[g.node("r1")], before=g.node("r0")), "cannot wait for"),
        (lambda g: g.add("Unheard"), "'Unheard' is unknown"),
        (lambda g: g.set_outputs([chain(1).inputs[0]]), "not a value of graph"),
        (lambda g: g.set_outputs(g.outputs, ["a", "b"]), "1 outputs need 1 names"),
        (lambda g: g.set_keep({"k": chain(1).node("r0")}), "cannot be kept"),
        (lambda g: g.inputs[0].replace_uses(g.node("r1").output), "only later"),
        (lambda g: g.inputs[0].replace_uses(g.add("Const", [], {"value": Tensor.of(1)}).output), "cannot be replaced"),
    ],
)
def test_wrong_mutations_are_refused_and_change_nothing(change: Any, message: str) -> None:
    graph = chain(3)
    before = [n.name for n in graph]
    with pytest.raises(MutationError, match=message):
        change(graph)
    assert [n.name for n in graph if n.op != "Const"] == before
    assert graph_violations(graph) == []


def test_erased_nodes_say_so() -> None:
    graph = chain(1)
    graph.set_outputs([])
    node = graph.node("r0")
    graph.erase(node)
    assert node.is_erased
    assert node not in graph
    with pytest.raises(MutationError, match="'r0' has been erased"):
        _ = node.graph


def test_attributes_that_inputs_decide_may_be_left_out() -> None:
    graph = Graph("g", OPS)
    half = graph.add_input("h", TensorType(DType.HALF))
    axis = graph.add("Const", [], {"value": Tensor.of(0, DType.INT64)}).output
    concat = graph.add("ConcatV2", [half, half, half, axis])
    assert (concat.attrs["N"], concat.attrs["T"], concat.attrs["Tidx"]) == (3, DType.HALF, DType.INT64)
    total = graph.add("Sum", [half, axis])
    assert total.attrs["Tidx"] is DType.INT64  # its default is int32
    stitch = graph.add("DynamicStitch", [graph.add_input("i", TensorType(DType.INT32))] * 2 + [half, half])
    assert stitch.attrs["N"] == 2
    assert graph_violations(graph) == []


def test_arguments_go_by_tensorflows_names() -> None:
    graph = parse_graph("graph @g(%a: f32[1], %b: f32[2], %i: i32[]) -> () { %c = ConcatV2(%a, %b, %i) : f32[3] }", OPS)
    node = graph.node("c")
    assert node["axis"] is graph.inputs[2]
    assert node.arguments("values") == graph.inputs[:2]
    with pytest.raises(KeyError, match="holds 2 tensors"):
        _ = node["values"]


def test_constants_are_seen_through_identities() -> None:
    graph = parse_graph(
        "graph @g(%x: f32[]) -> () { %c = Const {value = f32[] 2} %i = Identity(%c) : f32[] %n = Neg(%c) : f32[] }", OPS
    )
    assert constant_of(graph.node("i").output) == Tensor.of(2.0, DType.FLOAT)
    assert constant_of(graph.node("n").output) is None
    assert constant_of(graph.inputs[0]) is None
    assert constant_of(None) is None


def test_versions_count_changes_only() -> None:
    graph = chain(2)
    version = graph.version
    node = graph.node("r1")
    node.set_input(0, node.inputs[0])
    node.set_control(())
    node.set_attr("T", DType.FLOAT)
    node.output.set_type(node.output.type)
    assert graph.version == version
    node.set_attr("T", DType.FLOAT.value)  # type: ignore[arg-type]
    assert graph.version == version + 1
