"""Every layer: its meaning against numpy, with known and unknown dimensions and under XLA; its shape rule against TensorRT."""

from __future__ import annotations

import pytest

from tfgraphopt_trt.layers import all_layers
from trt_layers.cases import ELEMENTWISE, LAYOUT, LINEAR, SELECTION
from trt_layers.harness import Case, emitted, plan_size, run, traced
from trt_layers.spatial_cases import SPATIAL

CASES = [*ELEMENTWISE, *LINEAR, *LAYOUT, *SELECTION, *SPATIAL]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@each_case
def test_the_meaning_agrees_with_numpy_and_with_the_shape_rule(case: Case) -> None:
    graph = case.graph()
    case.check(run(graph, case.feeds), graph)


@each_case
def test_the_meaning_does_not_depend_on_what_is_known_of_the_shapes(case: Case) -> None:
    graph = case.graph(unknown=True)
    case.check(traced(graph, case.feeds), graph)


@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown"])
@each_case
def test_tensorrt_infers_the_same_types(case: Case, unknown: bool) -> None:
    network = emitted(case.graph(unknown))
    assert network.network.num_layers >= 1
    if not unknown:
        assert network.ours_unknown == 0


@pytest.mark.parametrize("case", [c for c in CASES if c.builds], ids=lambda c: c.name)
def test_tensorrt_builds_the_layer(case: Case) -> None:
    assert plan_size(case.graph()) > 0


@pytest.mark.parametrize("case", [c for c in CASES if c.xla], ids=lambda c: c.name)
def test_xla_compiles_the_meaning(case: Case) -> None:
    graph = case.graph()
    case.check(traced(graph, case.feeds, jit_compile=True), graph)


def test_there_is_a_case_for_every_layer() -> None:
    assert {c.op for c in CASES} == {layer.op for layer in all_layers()} - {"trt.constant"}
