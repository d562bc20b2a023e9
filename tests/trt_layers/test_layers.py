"""Every layer: its meaning against numpy, with unknown dimensions and under XLA; its shape rule against TensorRT.

The cases of one layer share one trace, compilation or engine, since each of those costs more than a case does.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import pytest

from tfgraphopt_trt.layers import all_layers
from trt_layers.cases import ELEMENTWISE, LAYOUT, LINEAR, SELECTION
from trt_layers.control_cases import CONTROL
from trt_layers.harness import Case, check_all, combined, emitted, plan_size, run, traced
from trt_layers.spatial_cases import SPATIAL

CASES = [*ELEMENTWISE, *LINEAR, *LAYOUT, *SELECTION, *SPATIAL, *CONTROL]
BY_LAYER: dict[str, list[Case]] = collections.defaultdict(list)
for _case in CASES:
    BY_LAYER[_case.op].append(_case)
each_layer = pytest.mark.parametrize("cases", BY_LAYER.values(), ids=BY_LAYER)


def _plain(cases: Sequence[Case]) -> list[Case]:
    """Not the half floats, which take the same way through the rules."""
    return [c for c in cases if not c.name.endswith("float16")]


@each_layer
def test_the_meaning_agrees_with_numpy_and_with_the_shape_rule(cases: Sequence[Case]) -> None:
    graph, feeds = combined(cases)
    check_all(cases, graph, run(graph, feeds))


@each_layer
def test_the_meaning_does_not_depend_on_what_is_known_of_the_shapes(cases: Sequence[Case]) -> None:
    graph, feeds = combined(_plain(cases), unknown=True)
    check_all(_plain(cases), graph, traced(graph, feeds))


@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown"])
@each_layer
def test_tensorrt_infers_the_same_types(cases: Sequence[Case], unknown: bool) -> None:
    network = emitted(combined(cases, unknown)[0])
    assert network.network.num_layers >= len(cases)
    if not unknown:
        assert network.ours_unknown == 0


@each_layer
def test_tensorrt_builds_the_layer(cases: Sequence[Case]) -> None:
    built = [c for c in cases if c.builds]
    if not built:
        pytest.skip("TensorRT for RTX has no implementation; only its shape inference is compared")
    assert plan_size(combined(built)[0]) > 0


@pytest.mark.slow
@each_layer
def test_xla_compiles_the_meaning(cases: Sequence[Case]) -> None:
    compiled = [c for c in _plain(cases) if c.xla]
    if not compiled:
        pytest.skip("the size of the result depends on the data, which XLA does not have")
    graph, feeds = combined(compiled)
    check_all(compiled, graph, traced(graph, feeds, jit_compile=True))


def test_there_is_a_case_for_every_layer() -> None:
    assert set(BY_LAYER) == {layer.op for layer in all_layers()} - {"trt.constant"}
