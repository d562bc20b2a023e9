"""The strategies: what they draw is valid to the verifier and to TensorFlow, covers every op, and shrinks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from tfgraphopt.graphdef import export_graph_def, import_graph_def, tf_op_table
from tfgraphopt.ir import DType, Module, Shape, Tensor
from tfgraphopt.ir.compare import differences
from tfgraphopt.ir.text import parse_module, print_module
from tfgraphopt.ir.verify import violations
from tfgraphopt.pipeline import Pipeline
from tfgraphopt.testing.cases import pass_table
from tfgraphopt.testing.compare import run
from tfgraphopt.testing.contracts import EXAMPLES, default_tables, law
from tfgraphopt.testing.growing import Growing
from tfgraphopt.testing.strategies import (
    CALLS,
    OPS,
    dtypes,
    feeds,
    from_op,
    graph_defs,
    modules,
    pipelines,
    shapes,
    support_masks,
    tensors,
)  # fmt: skip

QUICK = settings(max_examples=max(EXAMPLES // 4, 10), deadline=None, suppress_health_check=list(HealthCheck))
EVERY_KIND = modules(functions=True)


def check_round_trip(module: Module) -> None:
    graph_def = export_graph_def(module)
    again = import_graph_def(graph_def, module.main.output_names)
    written = export_graph_def(again)
    assert written == graph_def
    third = import_graph_def(written, module.main.output_names)
    assert list(differences(again, third)) == []


test_import_and_export_are_inverse = law(check_round_trip, EVERY_KIND)


def check_text(module: Module) -> None:
    stored: dict[str, Tensor] = {}
    text = print_module(module, small=4, tensors=stored)
    again = parse_module(text, tf_op_table(), tensors=stored)
    assert list(differences(module, again)) == []
    assert print_module(again, small=4) == text


test_printing_and_parsing_are_inverse = law(check_text, EVERY_KIND)


def check_verified(module: Module) -> None:
    assert violations(module) == []
    assert violations(import_graph_def(export_graph_def(module), module.main.output_names)) == []


test_the_verifier_accepts_every_module = law(check_verified, EVERY_KIND)


def check_runs(data: Any) -> None:
    module = data.draw(EVERY_KIND)
    results = run(module, data.draw(feeds(module)))
    for name, value in zip(module.main.output_names, module.main.outputs, strict=True):
        assert DType.of_numpy(results[name].dtype) is value.dtype
        assert value.shape.compatible(Shape(results[name].shape)), f"{name}: {value.type}, {results[name].shape}"


test_tensorflow_runs_every_module_and_types_are_right = law(check_runs, st.data())


@pytest.mark.parametrize("op", OPS)
def test_every_op_can_be_drawn_and_run(op: str) -> None:
    @settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        module = data.draw(from_op(op))
        assert op in {n.op for n in module.main}
        run(module, data.draw(feeds(module)))

    check()


def shrunk(strategy: st.SearchStrategy[Module], op: str) -> Module:
    quiet = settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    return find(strategy, lambda m: any(n.op == op for n in m.main), settings=quiet)


@pytest.mark.parametrize(("op", "nodes"), [("AddV2", 4), ("Transpose", 4)])
def test_graphs_shrink_to_few_nodes(op: str, nodes: int) -> None:
    module = shrunk(modules(ops=["Relu", "Neg", "AddV2", "Conv2D", "Transpose", "Reshape"]), op)
    assert len(module.main) <= nodes, print_module(module)
    assert not any(n.control for n in module.main)


@pytest.mark.parametrize("op", ["PartitionedCall"])
def test_functions_shrink_too(op: str) -> None:
    module = shrunk(modules(functions=True, ops=["Relu", "AddV2"]), op)
    assert len(module.main) <= 4, print_module(module)
    assert all(len(body) == 1 for body in module.functions.values())


def test_options_are_obeyed() -> None:
    @QUICK
    @given(
        modules(
            ops=["AddV2", "Conv2D"], unknown_dims=False, control_edges=False, min_size=2, element_types=[DType.FLOAT]
        )
    )
    def check(module: Module) -> None:
        assert {n.op for n in module.main} <= {"AddV2", "Conv2D", "Placeholder", "Const"}
        assert all(v.shape.is_static for n in module.main for v in n.outputs)
        assert all(v.dtype is DType.FLOAT for n in module.main for v in n.outputs)
        assert not any(n.control for n in module.main)
        assert sum(n.op in ("AddV2", "Conv2D") for n in module.main) >= 2

    check()


def test_a_third_party_adds_ops_of_its_own() -> None:
    def grow(g: Growing, op: str) -> None:
        g.like("Selu", [g.like("Elu", [g.value([DType.FLOAT])])])

    module = find(modules(ops=["mine"], makers={"mine": grow}, min_size=1), lambda m: True)
    assert [n.op for n in module.main][-2:] == ["Elu", "Selu"]


def test_ops_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ValueError, match="strategies cannot make"):
        find(modules(ops=["NoSuchOp"]), lambda m: True)


@QUICK
@given(st.data())
def test_the_small_strategies(data: st.DataObject) -> None:
    dtype, shape = data.draw(dtypes()), data.draw(shapes(max_rank=2))
    assert data.draw(tensors(dtype, shape)).type.shape == shape
    module = data.draw(modules(max_size=3))
    assert data.draw(support_masks(module.main)) <= {n.name for n in module.main}
    assert data.draw(shapes(unknown_dims=True, unknown_rank=True)).rank in (None, 0, 1, 2, 3, 4)
    assert data.draw(graph_defs(max_size=2)).node


def check_pipeline(pipeline: Pipeline) -> None:
    passes = pass_table(default_tables())
    assert Pipeline.parse(str(pipeline), passes) == pipeline


test_pipelines_print_and_parse = law(check_pipeline, pipelines(pass_table(default_tables())))


def test_the_strategies_cover_many_ops() -> None:
    assert len(OPS) + len(CALLS) >= 110
