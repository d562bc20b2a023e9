"""The analysis of rows: what it proves holds for any number of rows, it proves what networks are made of, and it is not fooled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from layout.drawing import Array, drawings

from tfgraphopt.ir import DType, Graph, Shape, TensorType, Value
from tfgraphopt_trt.builder import LayerBuilder
from tfgraphopt_trt.layers import layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_xla.row_rules import all_rules
from tfgraphopt_xla.rows import FIXED, SIZES, RowRule, Rows, State, Unproven, follow_node, follow_rows

RULES: Mapping[str, RowRule] = {op: rule for rule in all_rules() for op in rule.ops}
LAYERS = layer_map()


def proven(graph: Graph) -> dict[Value, State]:
    """The states of all values that the analysis can say something of, when every input is made of rows."""
    states: dict[Value, State] = {v: Rows(0) for v in graph.inputs}
    for node in graph:
        if all(v in states for v in node.inputs):
            try:
                found = follow_node(node, [states[v] for v in node.inputs], RULES)
            except Unproven:
                continue
            states.update(zip(node.outputs, found, strict=True))
    return states


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawings(dynamic=True))
def test_law_rows_that_are_proven_apart_do_not_notice_further_rows(drawn: tuple[Graph, list[Array]]) -> None:
    graph, feeds = drawn
    states = {v: s for v, s in proven(graph).items() if isinstance(s, Rows) and v.producer is not None}
    if not states:
        return
    graph.set_outputs(list(states), [f"o{i}" for i in range(len(states))])
    more = [np.concatenate([a, 3.0 - 2.0 * a[::-1], a[:1]]) for a in feeds]
    few, many = evaluate(graph, LAYERS, feeds), evaluate(graph, LAYERS, more)
    for state, small, large in zip(states.values(), few, many, strict=True):
        assert small.shape[state.axis] == state.each * len(feeds[0])
        assert large.shape[state.axis] == state.each * len(more[0])
        part = np.take(large, range(small.shape[state.axis]), state.axis)
        np.testing.assert_allclose(part, small, rtol=3e-5, atol=3e-5)


def body(make: Callable[[LayerBuilder, Value], Value], *dims: int | None) -> tuple[Graph, Value]:
    """A graph of one input of rows and what ``make`` computes of it."""
    graph = Graph("body", layer_table(), dialect="trt")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape(dims)))
    made = make(LayerBuilder(graph, name="node"), x)
    graph.set_outputs([made])
    return graph, made


def ones(b: LayerBuilder, *dims: int) -> Value:
    return b.constant(np.ones(dims, np.float32))


APART: dict[str, tuple[Callable[[LayerBuilder, Value], Value], State]] = {
    "a merged axis": (lambda b, x: b.reshape(x, (-1, 3)), Rows(0, 4)),
    "a dense layer on merged rows": (lambda b, x: b.matrix_multiply(b.reshape(x, (-1, 3)), ones(b, 3, 5)), Rows(0, 4)),
    "a product within rows": (lambda b, x: b.matrix_multiply(x, x, transpose_b=True), Rows(0)),
    "an outer product of columns": (lambda b, x: b.layer("trt.einsum", [x, x], {"equation": "abc,adc->dba"})[0], Rows(2)),
    "moved rows": (lambda b, x: b.transpose(x, (1, 2, 0)), Rows(2)),
    "a sum within rows": (lambda b, x: b.reduce(b.transpose(x, (1, 2, 0)), "sum", (0,), False), Rows(1)),
    "a table looked up": (
        lambda b, x: b.gather(ones(b, 9, 2), b.layer("trt.cast", [x], {"to": DType.INT32})[0], 0), Rows(0),
    ),
    "columns taken": (lambda b, x: b.gather(x, b.constant(np.array([1, 0], np.int32)), 1), Rows(0)),
    "sizes": (lambda b, x: b.shape(x), SIZES),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_rows_are_followed_through(name: str) -> None:
    make, expected = APART[name]
    graph, made = body(make, None, 4, 3)
    assert follow_rows(graph, [Rows(0)], RULES)[made] == expected


MIXED: dict[str, Callable[[LayerBuilder, Value], Value]] = {
    "a sum over rows": lambda b, x: b.reduce(x, "sum", (0,), True),
    "a softmax over rows": lambda b, x: b.softmax(x, 0),
    "a running sum over rows": lambda b, x: b.layer("trt.cumulative", [x], {"axis": 0})[0],
    "rows beside rows": lambda b, x: b.concatenation([x, x], 0),
    "rows against rows": lambda b, x: b.matrix_multiply(
        b.reshape(x, (-1, 12)), b.reshape(x, (-1, 12)), transpose_b=True
    ),
    "a product that sums over rows": lambda b, x: b.layer("trt.einsum", [x, x], {"equation": "abc,abd->cd"})[0],
    "rows cut": lambda b, x: b.slice(x, (1, 0, 0), b.shape(x), mode="fill"),
    "rows taken": lambda b, x: b.gather(x, b.constant(np.array([0], np.int32)), 0),
    "rows split across": lambda b, x: b.reshape(b.transpose(x, (1, 0, 2)), (2, -1, 3)),
    "how many rows there are": lambda b, x: b.layer("trt.cast", [b.shape(x)], {"to": DType.FLOAT})[0],
    "a channel window over rows": lambda b, x: b.softmax(b.transpose(x, (1, 0, 2)), 1),
}


@pytest.mark.parametrize("name", MIXED)
def test_rows_that_meet_are_not_proven_apart(name: str) -> None:
    graph, _ = body(MIXED[name], None, 4, 3)
    with pytest.raises(Unproven):
        follow_rows(graph, [Rows(0)], RULES)


def test_a_constant_with_an_element_for_each_row_is_not_repeated() -> None:
    graph, _ = body(lambda b, x: b.elementwise(x, ones(b, 4, 4, 3), "sum"), None, 4, 3)
    with pytest.raises(Unproven, match="an element for each row"):
        follow_rows(graph, [Rows(0)], RULES)


def test_what_no_rule_knows_is_named() -> None:
    graph, _ = body(lambda b, x: b.layer("trt.softmax", [x], {"axis": 1})[0], None, 4, 3)
    with pytest.raises(Unproven, match=r"no rule says how rows pass through trt\.softmax"):
        follow_rows(graph, [Rows(0)], {})
    assert set(follow_rows(graph, [FIXED], {}).values()) == {FIXED}
