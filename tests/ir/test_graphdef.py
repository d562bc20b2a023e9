from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings

from ir.drawing import graphs
from ir.tf_graphs import CASES, normal_form, of_function, run
from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef import (
    GraphDef,
    export_graph_def,
    import_graph_def,
    infer_types,
    opaque_of_bytes,
    opaque_to_bytes,
    parse_graph_def,
    tf_op_table,
)  # fmt: skip
from tfgraphopt.ir import DType, Graph, Module, Shape, Tensor, TensorType
from tfgraphopt.ir.compare import differences
from tfgraphopt.ir.text import parse_module, print_module
from tfgraphopt.ir.verify import violations


@pytest.mark.parametrize("verbatim", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_import_and_export_are_inverse(name: str, verbatim: bool) -> None:
    graph_def, _, fetches = CASES[name]()
    before = graph_def.SerializeToString(deterministic=True)
    for outputs in (None, fetches):
        module = import_graph_def(graph_def, outputs)
        assert violations(module) == []
        again = export_graph_def(module, verbatim=verbatim)
        assert normal_form(again) == normal_form(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", CASES)
def test_what_was_exported_computes_the_same(name: str) -> None:
    graph_def, feeds, fetches = CASES[name]()
    again = export_graph_def(import_graph_def(graph_def, fetches, copy=True), verbatim=False)
    for ours, theirs in zip(run(again, feeds, fetches), run(graph_def, feeds, fetches), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes() if ours.dtype != object else ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("name", CASES)
def test_real_graphs_survive_the_text_form(name: str) -> None:
    graph_def, _, fetches = CASES[name]()
    module = import_graph_def(graph_def, fetches)
    stored: dict[str, Tensor] = {}
    again = parse_module(
        print_module(module, tensors=stored), tf_op_table(), tensors=stored, opaque=module.opaque_functions
    )
    assert list(differences(module, again)) == []
    assert violations(again) == []
    exported = import_graph_def(export_graph_def(again, verbatim=False), fetches)
    assert list(differences(module, exported)) == []


@settings(max_examples=200, deadline=None)
@given(graphs(odd_attrs=False))
def test_generated_graphs_survive(graph: Graph) -> None:
    if graph.inputs or any(n.name[0] == "_" for n in graph):
        return
    module = Module(graph, graph.ops)
    graph.set_outputs([v for v in graph.outputs if v.producer is not None], None)
    names = list(dict.fromkeys(f"{v.producer.name}:{v.index}" for v in graph.outputs if v.producer))
    first = export_graph_def(_fetched(module, names))
    second = export_graph_def(import_graph_def(first, names) if names else import_graph_def(first))
    assert normal_form(second) == normal_form(first)


def _fetched(module: Module, names: list[str]) -> Module:
    graph = module.main
    values = [graph.node(n.partition(":")[0]).outputs[int(n.partition(":")[2])] for n in names]
    graph.set_outputs(values, names)
    return module


def test_weights_are_neither_copied_nor_decoded() -> None:
    graph_def, _, fetches = CASES["network"]()
    module = import_graph_def(graph_def, fetches)
    tensors = [n.attrs["value"] for n in module.main if n.op == "Const"]
    export_graph_def(module)
    assert all(isinstance(t, Tensor) and t._array is None for t in tensors)


def test_outputs_keep_their_names_when_their_nodes_go() -> None:
    graph_def, feeds, fetches = CASES["network"]()
    module = import_graph_def(graph_def, fetches)
    graph = module.main
    old = graph.outputs[0].producer
    assert old is not None
    source = old.inputs[0]
    old.outputs[0].replace_uses(source)
    graph.erase(old)
    exported = export_graph_def(module)
    assert [n.op for n in exported.node if n.name == fetches[0].partition(":")[0]] == ["Identity"]
    for ours, theirs in zip(run(exported, feeds, fetches), run(graph_def, feeds, fetches), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_output_name_is_taken_over_from_a_node_that_means_something_else() -> None:
    graph_def, feeds, fetches = of_function(lambda x: (tf.nn.relu(x, name="r"), tf.exp(x)), np.ones((2, 2), np.float32))
    module = import_graph_def(graph_def, ["r", fetches[1]])
    graph = module.main
    better = graph.add("Neg", [graph.node("r").output])
    graph.set_outputs([better.output, graph.outputs[1]])
    got = run(export_graph_def(module), feeds, ["r:0"])[0]
    np.testing.assert_array_equal(got, -np.ones((2, 2)))


def test_polymorphic_functions_are_carried_along() -> None:
    graph_def, _, _ = CASES["calls"]()
    poly = graph_def.library.function.add()
    poly.signature.name = "poly"
    poly.signature.attr.add(name="T", type="type")
    poly.signature.input_arg.add(name="x", type_attr="T")
    poly.signature.output_arg.add(name="y", type_attr="T")
    poly.ret["y"] = "x"
    module = import_graph_def(graph_def)
    assert set(module.opaque_functions) == {"poly"}
    assert normal_form(export_graph_def(module)) == normal_form(graph_def)
    name, again = opaque_of_bytes(opaque_to_bytes("poly", module.opaque_functions["poly"]))
    assert (name, again) == ("poly", poly)


def test_inferred_types_are_tensorflows() -> None:
    graph_def, _, fetches = CASES["network"]()
    module = import_graph_def(graph_def, fetches)
    theirs = tf.Graph()
    with theirs.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    for value, type_ in infer_types(module.main).items():
        assert value.producer is not None
        tensor = theirs.get_tensor_by_name(f"{value.producer.name}:{value.index}")
        assert type_ == TensorType(DType.of_number(tensor.dtype.as_datatype_enum), Shape(tensor.shape.as_list()))


# -- what is refused -----------------------------------------------------------------------------------------------------


def _node(graph: Any, op: str, name: str, *inputs: str, **attributes: Any) -> Any:
    node = graph.node.add(op=op, name=name, input=inputs)
    for key, (field, value) in attributes.items():
        setattr(node.attr[key], field, value)
    return node


def _const(graph: Any, name: str, value: Any) -> None:
    node = graph.node.add(op="Const", name=name)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype


def _good() -> Any:
    graph = GraphDef()
    graph.versions.producer = 1395
    _const(graph, "c", np.ones(2, np.float32))
    _const(graph, "i", np.int32(1))
    _node(graph, "Relu", "r", "c", T=("type", 1))
    _node(graph, "AddV2", "sum", "r", "c", T=("type", 1))
    return graph


def _duplicate(g: Any) -> None:
    _node(g, "NoOp", "r")


def _two_faults(g: Any) -> None:
    g.node[2].input[0] = "nowhere"
    _node(g, "NoSuchOp", "odd")


def _cycle(g: Any) -> None:
    g.node[2].input[0] = "sum"


def _while(g: Any) -> None:
    _node(g, "Enter", "enter", "c", T=("type", 1), frame_name=("s", b"f"))
    _node(g, "Merge", "merge", "enter", "next", T=("type", 1), N=("i", 2))
    _node(g, "NextIteration", "next", "merge", T=("type", 1))


def _attr(node: int, key: str, field: str, value: Any) -> Callable[[Any], None]:
    def change(g: Any) -> None:
        g.node[node].attr[key].Clear()
        setattr(g.node[node].attr[key], field, value)

    return change


MALFORMED: dict[str, tuple[Callable[[Any], object], tuple[str, ...], str]] = {
    "dangling input": (lambda g: g.node[3].input.append("^gone"), ("sum",), "'gone' does not exist"),
    "no such output": (lambda g: g.node[3].input.__setitem__(0, "r:1"), ("sum",), "has 1 outputs"),
    "negative output": (lambda g: g.node[3].input.__setitem__(0, "r:-1"), ("sum",), "does not exist"),
    "duplicate name": (_duplicate, ("r",), "another node has the same name"),
    "no name": (lambda g: _node(g, "NoOp", ""), ("(unnamed)",), "without a name"),
    "illegal name": (lambda g: _node(g, "NoOp", "a b"), ("a b",), "not a legal name"),
    "unknown op": (lambda g: _node(g, "NoSuchOp", "odd"), ("odd",), "'NoSuchOp' is not registered"),
    "two faults": (_two_faults, ("r", "odd"), "'nowhere' does not exist"),
    "cycle": (_cycle, ("r", "sum"), "part of a cycle"),
    "TF1 while loop": (_while, ("next",), "TF1 while loop"),
    "attribute of another kind": (_attr(2, "T", "i", 1), ("r",), "'T' must be of kind type"),
    "attribute missing": (lambda g: g.node[0].attr.pop("value"), ("c",), "'value' is missing"),
    "unknown type": (_attr(2, "T", "type", 77), ("r",), "77"),
    "too few inputs": (lambda g: g.node[3].input.pop(), ("sum",), "takes 2 inputs, not 1"),
    "too many inputs": (lambda g: g.node[2].input.append("c"), ("r",), "takes 1 inputs, not 2"),
    "wrong dtype": (lambda g: g.node[3].input.__setitem__(1, "i"), ("sum",), "input 1 (i) is int32, not float32"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_graphs_give_one_error_that_names_the_nodes(name: str) -> None:
    graph = _good()
    change, nodes, why = MALFORMED[name]
    change(graph)
    with pytest.raises(GraphDefError) as caught:
        import_graph_def(graph)
    assert set(nodes) <= set(caught.value.where)
    assert why in str(caught.value)
    if name not in ("unknown op", "two faults", "TF1 while loop", "no name", "unknown type"):
        with pytest.raises((ValueError, tf.errors.OpError, KeyError)):  # TensorFlow refuses it too
            run(graph, {}, ["sum:0"])


def test_all_faults_are_reported_at_once_each_by_its_own_node() -> None:
    graph = _good()
    _node(graph, "NoSuchOp", "odd")
    _node(graph, "Relu", "half", "c", T=("type", 19))
    graph.node[2].input[0] = "nowhere"
    with pytest.raises(GraphDefError, match="nodes of 'main' cannot be imported") as caught:
        import_graph_def(graph)
    assert {"r", "odd", "half"} <= set(caught.value.where)


def test_versions_that_are_too_new_are_refused() -> None:
    graph = _good()
    graph.versions.min_consumer = 10**6
    with pytest.raises(GraphDefError, match="GraphDef version 1000000"):
        import_graph_def(graph)


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(cut: float) -> None:
    data = CASES["network"]()[0].SerializeToString()
    with pytest.raises(GraphDefError, match=r"model\.pb"):
        parse_graph_def(data[: int(len(data) * cut)], "model.pb")


def test_other_things_are_refused() -> None:
    with pytest.raises(GraphDefError, match="not a str"):
        import_graph_def("model.pb")  # type: ignore[arg-type]
    with pytest.raises(GraphDefError, match="without any node"):
        parse_graph_def(b"")
    with pytest.raises(GraphDefError, match="no such output") as caught:
        import_graph_def(_good(), ["sum", "total:0", "r:4"])
    assert caught.value.where == ("total:0", "r:4")
    assert "sum" in caught.value.hint


def test_faults_inside_functions_name_the_function() -> None:
    graph_def, _, _ = CASES["calls"]()
    function = graph_def.library.function[0]
    function.node_def[-1].input[0] = "gone:product:0"
    with pytest.raises(GraphDefError, match=function.signature.name) as caught:
        import_graph_def(graph_def)
    assert function.node_def[-1].name in caught.value.where
