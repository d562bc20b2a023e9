"""Laws of the clustering, on random graphs with random support masks, data and control edges."""

from __future__ import annotations

import graphlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.ir import Graph, Node, OpDef, OpTable, Shape, TensorType
from tfgraphopt.ir.types import DType
from tfgraphopt_trt.clustering import clusters

FLOAT = TensorType(DType.FLOAT, Shape(()))
OPS = OpTable([OpDef("Op", infer=lambda inputs, attrs: [FLOAT])])


@st.composite
def labelled_graphs(draw: st.DrawFn) -> tuple[Graph, dict[Node, str | None]]:
    """A graph whose nodes read and wait for earlier nodes, each labelled with a device or None."""
    graph = Graph("g", OPS)
    label: dict[Node, str | None] = {}
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 14))):
        earlier = st.lists(st.sampled_from(nodes), max_size=3, unique=True) if nodes else st.just([])
        read, waited = draw(earlier), draw(earlier) if draw(st.booleans()) else []
        node = graph.add("Op", [n.outputs[0] for n in read], name=f"n{index}", control=waited)
        label[node] = draw(st.sampled_from([None, "", "", "gpu:1"]))
        nodes.append(node)
    return graph, label


def edges(graph: Graph) -> list[tuple[Node, Node]]:
    return [(s, n) for n in graph for s in [*(v.producer for v in n.inputs), *n.control] if s is not None]


def is_acyclic(graph: Graph, groups: list[list[Node]]) -> bool:
    """Whether the graph stays acyclic when each group becomes one node; by the standard library's topological sort."""
    home = {n: i for i, group in enumerate(groups) for n in group}
    sorter: graphlib.TopologicalSorter[object] = graphlib.TopologicalSorter()
    for source, node in edges(graph):
        a, b = home.get(source, source), home.get(node, node)
        if a != b:
            sorter.add(b, a)
    try:
        sorter.prepare()
    except graphlib.CycleError:
        return False
    return True


@settings(max_examples=500, deadline=None)
@given(labelled_graphs())
def test_groups_partition_the_labelled_nodes_and_stay_acyclic(case: tuple[Graph, dict[Node, str | None]]) -> None:
    graph, label = case
    groups = clusters(graph, label, lambda n: False)
    members = [n for group in groups for n in group]
    assert len(members) == len(set(members))
    assert set(members) == {n for n in graph if label[n] is not None}
    assert all(len({label[n] for n in group}) == 1 for group in groups)
    assert is_acyclic(graph, groups)


@settings(max_examples=200, deadline=None)
@given(labelled_graphs())
def test_groups_are_maximal_and_deterministic(case: tuple[Graph, dict[Node, str | None]]) -> None:
    """No two groups that an edge joins could still be one, and the same graph gives the same groups again."""
    graph, label = case
    groups = clusters(graph, label, lambda n: False)
    assert groups == clusters(graph, label, lambda n: False)
    home = {n: i for i, group in enumerate(groups) for n in group}
    for source, node in edges(graph):
        a, b = home.get(source), home.get(node)
        if a is None or b is None or a == b or label[source] != label[node]:
            continue
        joined = [g for i, g in enumerate(groups) if i not in (a, b)] + [groups[a] + groups[b]]
        assert not is_acyclic(graph, joined)


def test_an_unsupported_detour_splits_a_diamond() -> None:
    graph = Graph("g", OPS)
    top = graph.add("Op", name="top")
    left = graph.add("Op", [top.output], name="left")
    right = graph.add("Op", [top.output], name="right")
    bottom = graph.add("Op", [left.output, right.output], name="bottom")
    label = {top: "", left: "", right: None, bottom: ""}
    assert [sorted(n.name for n in g) for g in clusters(graph, label, lambda n: False)] == [["left", "top"], ["bottom"]]


@pytest.mark.parametrize("count", [10_000])
def test_ten_thousand_nodes_are_clustered_in_one_group(count: int) -> None:
    graph = Graph("g", OPS)
    last = graph.add("Op")
    for _ in range(count - 1):
        last = graph.add("Op", [last.output])
    groups = clusters(graph, dict.fromkeys(graph, ""), lambda n: False)
    assert [len(g) for g in groups] == [count]
