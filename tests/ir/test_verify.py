from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.drawing import OPS, graphs
from tfgraphopt.errors import InvalidGraph
from tfgraphopt.ir import ArgDef, DType, FuncRef, Graph, Module, Node, OpDef, Shape, Tensor, TensorType
from tfgraphopt.ir.text import parse_graph
from tfgraphopt.ir.verify import graph_violations, verify, verify_graph, violations
from tfgraphopt.regions import copy_graph

TEXT = """
graph @main(%x: f32[?,2]) -> (%r as "r:0", %s:1 as "s:1") keep (%init) {
  %init = NoOp
  %w = Const {value = f32[2,2] [[1,2],[3,4]]}
  %m = MatMul(%x, %w) ^init : f32[?,2] @ "user/product"
  %axis = Const {value = i32[] 1}
  %s = Split(%axis, %m) {num_split = 2} : f32[?,1], f32[?,1]
  %r = Relu(%s) : f32[?,1]
}
"""


def example() -> Graph:
    return parse_graph(TEXT, OPS)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_sound_graphs_are_accepted(graph: Graph) -> None:
    assert graph_violations(graph) == []


def _unlink(g: Graph) -> None:
    g.node("m")._next = g.node("s")


CORRUPTIONS: dict[str, tuple[Callable[[Graph], object], str]] = {
    "next link": (_unlink, "predecessor"),
    "circle": (lambda g: setattr(g.node("r"), "_next", g.node("init")), "circle"),
    "tail": (lambda g: setattr(g, "_tail", g.node("s")), "tail"),
    "order number": (lambda g: setattr(g.node("s"), "_order", -5.0), "does not rise"),
    "owner of a node": (lambda g: setattr(g.node("m"), "_graph", Graph("other", OPS)), "belongs to"),
    "name": (lambda g: setattr(g.node("m"), "name", "n"), "not found under its name"),
    "name table": (lambda g: g._nodes.__setitem__("m", g.node("s")), "not found under its name"),
    "name left in the table": (lambda g: g._nodes.__setitem__("gone", _foreign()), "not in the list"),
    "operand": (lambda g: _set_inputs(g.node("r"), g.node("s").outputs[1]), "does not list it as a use"),
    "operand dropped": (lambda g: _set_inputs(g.node("r")), "reads something else"),
    "operand of another graph": (lambda g: _set_inputs(g.node("r"), _foreign().output), "belongs to graph 'foreign'"),
    "operand of an erased node": (lambda g: _set_inputs(g.node("r"), _erased(g).output), "has been erased"),
    "uses emptied": (lambda g: g.node("m").output._uses.clear(), "does not list it as a use"),
    "stray use": (lambda g: g.node("w").output._uses.__setitem__((g.node("r"), 0), None), "reads something else"),
    "use by a foreign node": (
        lambda g: g.node("w").output._uses.__setitem__((_foreign(), 0), None),
        "not in this graph",
    ),
    "result index": (lambda g: setattr(g.node("s").outputs[1], "index", 0), "its result 1"),
    "producer": (lambda g: setattr(g.node("m").output, "producer", g.node("w")), "its result 0"),
    "results dropped": (lambda g: setattr(g.node("s"), "outputs", ()), "it has 0 results, not 2"),
    "control edge": (lambda g: setattr(g.node("m"), "control", ()), "does not wait for it"),
    "control edge backwards": (lambda g: setattr(g.node("init"), "control", (g.node("r"),)), "comes after it"),
    "control edge twice": (lambda g: setattr(g.node("m"), "control", (g.node("init"),) * 2), "waits twice"),
    "control uses": (lambda g: g.node("init")._control_uses.clear(), "does not list it as a control use"),
    "attribute missing": (lambda g: g.node("m")._attrs.pop("transpose_a"), "'transpose_a' is missing"),
    "attribute of another kind": (lambda g: g.node("m")._attrs.update(transpose_a=1), "must be of kind bool"),
    "integer for bool": (lambda g: g.node("s")._attrs.update(num_split=True), "must be of kind int"),
    "type attribute": (lambda g: g.node("m")._attrs.update(T=DType.HALF), "input 0 is f32, not f16"),
    "number attribute": (lambda g: g.node("s")._attrs.update(num_split=3), "it has 2 results, not 3"),
    "element type": (lambda g: setattr(g.node("r").output, "type", TensorType(DType.HALF)), "result 0 is f16, not f32"),
    "shape of a constant": (
        lambda g: setattr(g.node("w").output, "type", TensorType(DType.FLOAT, Shape((3,)))),
        "disagree",
    ),
    "value of a constant": (lambda g: g.node("w")._attrs.update(value=Tensor.of(1)), "disagree"),
    "op": (lambda g: setattr(g.node("r"), "op", "Relu6"), "not that of op 'Relu6'"),
    "definition": (lambda g: setattr(g.node("r"), "definition", None), "not that of op 'Relu'"),
    "formal input": (lambda g: setattr(g, "inputs", ()), "no input of this graph"),
    "formal input's index": (lambda g: setattr(g.inputs[0], "index", 3), "not a formal input"),
    "formal input's name": (lambda g: setattr(g.inputs[0], "name_hint", "m"), "has the name of a node"),
    "formal input's illegal name": (lambda g: setattr(g.inputs[0], "name_hint", "a b"), "not legal"),
    "output of an erased node": (lambda g: setattr(g, "outputs", (_erased(g).output, g.node("r").output)), "erased"),
    "output names": (lambda g: setattr(g, "output_names", ("r:0",)), "2 outputs have 1 names"),
    "output names twice": (lambda g: setattr(g, "output_names", ("r:0", "r:0")), "two outputs are called"),
    "kept node": (lambda g: g.keep.update(gone=_foreign()), "kept node 'gone'"),
}


def _set_inputs(node: Node, *values: object) -> None:
    node.inputs = values  # type: ignore[assignment]


def _foreign() -> Node:
    return Graph("foreign", OPS).add("Const", [], {"value": Tensor.of(1.0)})


def _erased(graph: Graph) -> Node:
    node = graph.add("Const", [], {"value": Tensor.of(1.0)})
    graph.erase(node)
    return node


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_single_corruption_is_found(name: str) -> None:
    graph = example()
    assert graph_violations(graph) == []
    corrupt, expected = CORRUPTIONS[name]
    corrupt(graph)
    found = graph_violations(graph)
    assert any(expected in line for line in found), found


def test_an_illegal_node_name_is_found() -> None:
    graph = Graph("g", OPS)
    graph.add("NoOp", name="a b")
    assert "its name is not legal" in graph_violations(graph)[0]


def _another(dtype: DType) -> DType:
    return DType.HALF if dtype is DType.STRING else DType.STRING


FIELDS: dict[str, Callable[[Node], object]] = {
    "inputs": lambda n: setattr(n, "inputs", n.inputs[:-1]),
    "input of another graph": lambda n: _set_inputs(n, *n.inputs[:-1], _foreign().output),
    "outputs": lambda n: setattr(n, "outputs", ()),
    "attributes": lambda n: n._attrs.pop("T"),
    "uses": lambda n: n.inputs[0]._uses.pop((n, 0)),
    "name": lambda n: setattr(n, "name", n.name + "_"),
    "name table": lambda n: n.graph._nodes.pop(n.name),
    "order": lambda n: setattr(n, "_order", -1e9 if n is not n.graph._head else 1e9),
    "owner": lambda n: setattr(n, "_graph", Graph("other", OPS)),
    "definition": lambda n: setattr(n, "definition", None),
    "control": lambda n: setattr(n, "control", (*n.control, _foreign())),
    "producer of a result": lambda n: setattr(n.outputs[0], "producer", None),
    "index of a result": lambda n: setattr(n.outputs[0], "index", 7),
    "element type of a result": lambda n: setattr(n.outputs[0], "type", TensorType(_another(n.outputs[0].dtype))),
    "outputs of the graph": lambda n: setattr(n.graph, "outputs", (*n.graph.outputs, _foreign().output)),
    "names of the outputs": lambda n: setattr(n.graph, "output_names", (*n.graph.output_names, "more")),
}


@settings(max_examples=200, deadline=None)
@given(graphs(odd_attrs=False), st.data())
def test_every_corrupted_field_of_any_node_is_found(graph: Graph, data: st.DataObject) -> None:
    nodes = [n for n in graph if n.inputs and n.outputs]
    if not nodes:
        return
    name = data.draw(st.sampled_from(nodes)).name
    for field, corrupt in FIELDS.items():
        copy = copy_graph(graph)
        assert graph_violations(copy) == []
        if field != "order" or len(graph) > 1:
            corrupt(copy.node(name))
            assert graph_violations(copy), field


def test_all_violations_are_reported_with_the_nodes_of_the_user() -> None:
    graph = example()
    graph.node("m")._attrs.pop("transpose_a")
    graph.node("s")._attrs.update(num_split=3)
    with pytest.raises(InvalidGraph, match="graph 'main' breaks 2 of the IR's rules") as caught:
        verify_graph(graph)
    assert len(caught.value.violations) == 2
    assert "MatMul node 'm' (from user/product)" in caught.value.violations[0]


def test_types_must_agree_with_inference() -> None:
    same = OpDef("Same", (ArgDef("x", DType.FLOAT),), (ArgDef("y", DType.FLOAT),), infer=lambda i, a: [i[0].type])
    graph = Graph("g", OPS.with_defs([same]))
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape((2, None))))
    node = graph.add("Same", [x])
    verify_graph(graph)
    node.output.set_type(TensorType(DType.FLOAT, Shape((None, 3))))
    verify_graph(graph)  # what is known of it is compatible
    node.output.set_type(TensorType(DType.FLOAT, Shape((3, 3))))
    with pytest.raises(InvalidGraph, match=r"result 0 is f32\[3,3\]; its definition infers f32\[2,\?\]"):
        verify_graph(graph)


def _module() -> Module:
    main, body = Graph("main", OPS), Graph("body", OPS)
    y = body.add_input("y", TensorType(DType.FLOAT))
    body.set_outputs([y])
    x = main.add_input("x", TensorType(DType.FLOAT))
    main.add("PartitionedCall", [x], {"f": FuncRef("body"), "Tout": (DType.FLOAT,)}, name="call")
    module = Module(main, OPS)
    module.add_function(body)
    return module


def test_function_references_resolve() -> None:
    module = _module()
    verify(module)
    module.main.node("call").set_attr("f", FuncRef("nowhere"))
    assert violations(module) == [
        "graph 'main': PartitionedCall node 'call': it refers to function 'nowhere', which does not exist"
    ]
    module.opaque_functions["nowhere"] = object()
    verify(module)


def test_modules_are_checked_as_a_whole() -> None:
    module = _module()
    module.functions["other"] = module.functions["body"]
    module.lowered["none"] = Graph("none", OPS, "trt")
    module.opaque_functions["body"] = object()
    found = violations(module)
    assert any("holds graph 'body'" in v for v in found)
    assert any("in the module twice" in v for v in found)
    assert any("stands beside no function" in v for v in found)
    assert any("both read and opaque" in v for v in found)
