"""One-line contracts for converters and layers, besides those of :mod:`tfgraphopt.testing`.

    test_soft_cap = converter_contract(soft_cap, layers=[SOFT_CAP], makers={"AcmeSoftCap": make})
    test_layer = layer_contract(SOFT_CAP, CASES)
    test_rule = body_pattern_contract(DropSoftCap(), BODIES)

TensorFlow is the oracle; no GPU and no TensorRT are needed. Where TensorRT is installed, it is asked as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfgraphopt.errors import MissingDependency
from tfgraphopt.ir import AttrValue, DType, Graph, Module, Node, Shape, TensorType
from tfgraphopt.ir.text import print_graph
from tfgraphopt.ir.verify import verify_graph
from tfgraphopt.regions import copy_graph
from tfgraphopt.rewrite import Pattern, RewriteLog, apply_patterns
from tfgraphopt.testing import contracts
from tfgraphopt.testing.compare import difference
from tfgraphopt.testing.contracts import EXAMPLES, Test, law
from tfgraphopt.testing.op_makers import Maker
from tfgraphopt.testing.strategies import from_op
from tfgraphopt_trt.builder import Unsupported
from tfgraphopt_trt.converter import Converter, convert
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import all_layers, layer_map, layer_table
from tfgraphopt_trt.meaning import evaluate

Array = NDArray[Any]
LoweredBody = tuple[Graph, Sequence[Array]]
"""A graph of layers, and what to feed it."""


def converter_contract(
    item: Converter,
    *,
    op: str = "",
    layers: Iterable[LayerDef] = (),
    makers: Mapping[str, Maker] | None = None,
    graphs: st.SearchStrategy[Module] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    examples: int = EXAMPLES,
) -> Test:
    """A test of a converter: what it accepts computes what TensorFlow computes, and a refusal has a reason.

    Args:
        op: which of its ops, when it has several.
        layers: layers of yours that it writes, besides the shipped ones.
        makers: how to add a node of the op to a graph that grows, for ops that the strategies do not know.
        graphs: modules with a node of the op, instead of those that the strategies make.
    """
    name = op or item.ops[0]
    every = (*all_layers(), *layers)
    known, table = layer_map(every), layer_table(every)

    def compute(fragment: Any, values: dict[str, Any]) -> Sequence[Any]:
        return evaluate(fragment.graph, known, [values[v.name] for v in fragment.operands])

    return contracts.converter_contract(
        name,
        convert=lambda node: convert(item, node, table),
        refusal=Unsupported,
        evaluate=compute,
        graphs=graphs if graphs is not None else from_op(name, makers=makers),
        rtol=rtol,
        atol=atol,
        examples=examples,
    )


@attrs.frozen(slots=True)
class LayerCase:
    """One use of a layer: its operands as arrays, and its attributes."""

    arrays: tuple[Array, ...]
    attributes: Mapping[str, AttrValue] = attrs.field(factory=dict)

    def node(self, layer: LayerDef, unknown: bool = False) -> Node:
        """The layer alone in a graph, all dimensions of its operands known or none of them."""
        graph = Graph("case", layer_table((*all_layers(), layer)), dialect="trt")
        inputs = [graph.add_input(f"x{i}", _type(a, unknown)) for i, a in enumerate(self.arrays)]
        node = graph.add(layer.op, inputs, dict(self.attributes), name="layer")
        graph.set_outputs(node.outputs)
        return node


def _type(array: Array, unknown: bool) -> TensorType:
    dims = [None if unknown else d for d in array.shape]
    return TensorType(DType.of_numpy(array.dtype), Shape(dims))


def layer_contract(layer: LayerDef, cases: st.SearchStrategy[LayerCase], examples: int = EXAMPLES) -> Test:
    """A test of a layer: its shape rule announces what its meaning computes, with all dimensions known and with none."""

    def infer(case: LayerCase) -> Sequence[TensorType]:
        return [v.type for unknown in (False, True) for v in case.node(layer, unknown).outputs]

    def compute(case: LayerCase) -> Sequence[Array]:
        results = evaluate(case.node(layer).graph, layer_map((*all_layers(), layer)), case.arrays)
        return [*results, *results]

    return contracts.layer_contract(infer, compute, cases, examples)


def network_contract(layer: LayerDef, *cases: LayerCase) -> Callable[[], None]:
    """A test that TensorRT takes the layer and infers for each case what its shape rule announces; skipped without TensorRT."""

    def test() -> None:
        import pytest

        from tfgraphopt_trt.build_log import BuildLog, make_logger
        from tfgraphopt_trt.emit import emit_network
        from tfgraphopt_trt.tensorrt_api import load

        try:
            tensorrt = load()
        except MissingDependency as error:
            pytest.skip(error.why)
        log = BuildLog()
        builder = tensorrt.module.Builder(make_logger(tensorrt.module, log))
        for case in cases:
            graph = case.node(layer).graph
            made = emit_network(graph, layer_map((*all_layers(), layer)), tensorrt, builder, log)
            assert made.network.num_layers > 0, f"{layer.op} emits nothing"
            assert np.all([o in made.outputs for o in (f"TensorRTOutputPH_{i}" for i in range(len(graph.outputs)))])

    return test


# -- passes and rules on lowered bodies ----------------------------------------------------------------------------------


def check_body_change(
    graph: Graph,
    feeds: Sequence[Array],
    change: Callable[[Graph], object],
    *,
    layers: Mapping[str, LayerDef] | None = None,
    tolerance: float = 0.0,
) -> None:
    """Check every law of a change to a lowered body, which stays changed.

    Laws: the graph stays valid; same inputs, names and element types of the results; same numbers as TensorFlow computes for the
    layers before; every layer comes from nodes that the layers before came from, or from an input; a second change changes
    nothing; equal graphs are changed to equal graphs.

    Args:
        graph: has an origin at every layer that is no constant.
        layers: the shipped ones by default.
        tolerance: how far results may be off, relative to the largest magnitude (at least 1) of their tensor.
    """
    known = layers if layers is not None else layer_map()
    twin = copy_graph(graph)
    origins = {origin for node in graph for origin in node.origin} | {v.name for v in graph.inputs}
    interface, start = _interface(graph), graph.version
    change(graph)
    verify_graph(graph)
    _check_interface(graph, interface)
    if graph.version != start:  # what is as it was computes what it did
        _check_numbers(graph, evaluate(twin, known, feeds), evaluate(graph, known, feeds), tolerance)
    for node in graph:
        assert node.origin or node.op == "trt.constant", f"{node!r} has no origin"
        assert set(node.origin) <= origins, f"{node!r} comes from {node.origin}, which nothing came from before"
    version, text = graph.version, print_graph(graph)
    change(graph)
    assert (graph.version, print_graph(graph)) == (version, text), "a second run changes the graph"
    change(twin)
    assert print_graph(twin) == text, "two runs on equal graphs give different graphs"


def _check_numbers(graph: Graph, wanted: Sequence[Array], found: Sequence[Array], tolerance: float) -> None:
    for name, have, want in zip(graph.output_names, found, wanted, strict=True):
        finite = np.abs(np.where(np.isfinite(want), want, 0).astype(np.float64))
        wrong = difference(want, have, atol=tolerance * max(1.0, float(finite.max(initial=0.0))))
        assert not wrong, f"{name}: {wrong}"


def _interface(graph: Graph) -> tuple[list[TensorType], list[str], list[TensorType]]:
    return [v.type for v in graph.inputs], list(graph.output_names), [v.type for v in graph.outputs]


def _check_interface(graph: Graph, before: tuple[list[TensorType], list[str], list[TensorType]]) -> None:
    inputs, names, outputs = _interface(graph)
    assert (inputs, names) == before[:2], f"inputs and names of results were {before[:2]} and are {(inputs, names)}"
    for name, new, old in zip(names, outputs, before[2], strict=True):
        assert new.dtype is old.dtype, f"{name} was {old} and is {new}"
        assert new.shape.compatible(old.shape), f"{name} was {old} and is {new}"


def body_contract(
    change: Callable[[Graph], object],
    bodies: st.SearchStrategy[LoweredBody],
    *,
    layers: Mapping[str, LayerDef] | None = None,
    tolerance: float = 0.0,
    examples: int = EXAMPLES,
) -> Test:
    """A test of a change to lowered bodies, such as what a pass does.

    Laws: those of :func:`check_body_change`, and that some example is changed at all.
    """
    changed: list[str] = []

    def check(drawn: LoweredBody) -> None:
        graph, feeds = drawn
        version = graph.version
        check_body_change(graph, feeds, change, layers=layers, tolerance=tolerance)
        if graph.version != version:
            changed.append(graph.name)

    checked = law(check, bodies, examples)

    def test() -> None:
        checked()
        assert changed, "none of the examples is changed"

    return test


def body_pattern_contract(
    rule: Pattern,
    bodies: st.SearchStrategy[LoweredBody],
    *,
    layers: Mapping[str, LayerDef] | None = None,
    tolerance: float = 0.0,
    examples: int = EXAMPLES,
) -> Test:
    """A test of a rule about layers: the laws of :func:`check_body_change`, and that it fires on some example at all."""
    log = RewriteLog()
    checked = body_contract(
        lambda graph: apply_patterns(graph, [rule], log=log), bodies, layers=layers, tolerance=tolerance,
        examples=examples,
    )  # fmt: skip

    def test() -> None:
        checked()
        assert log.applied, f"{rule.name} fired on none of the examples; refusals: {list(log.refused.values())[:5]}"

    return test
