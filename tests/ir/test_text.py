from __future__ import annotations

import contextlib
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.drawing import OPS, attr_values, dtypes, graphs, shapes, tensors
from tfgraphopt.errors import InvalidGraph, ParseError
from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.ir import DType, FuncRef, Graph, Module, OpTable, Shape, Tensor, TensorType
from tfgraphopt.ir.compare import differences, equal, same_attr
from tfgraphopt.ir.text import parse_graph, parse_module, print_graph, print_module
from tfgraphopt.ir.verify import verify_graph, violations

LAW = settings(max_examples=200, deadline=None)


@LAW
@given(graphs(), st.integers(0, 20))
def test_printing_and_parsing_are_inverse(graph: Graph, small: int) -> None:
    stored: dict[str, Tensor] = {}
    text = print_graph(graph, small=small, tensors=stored)
    again = parse_graph(text, OPS, tensors=stored)
    assert list(differences(graph, again)) == []
    assert print_graph(again, small=small) == text


@LAW
@given(attr_values)
def test_attributes_of_every_kind_survive(value: object) -> None:
    graph = Graph("g", OpTable())
    graph.add("Some", [], {"a": value}, types=[])  # type: ignore[dict-item]
    stored: dict[str, Tensor] = {}
    again = parse_graph(print_graph(graph, tensors=stored), OpTable(), tensors=stored)
    assert same_attr(again.node("Some").attrs["a"], value)


@LAW
@given(tensors())
def test_small_constants_are_written_to_the_bit(tensor: Tensor) -> None:
    graph = Graph("g", OPS)
    graph.add("Const", [], {"value": tensor})
    again = parse_graph(print_graph(graph, small=1000), OPS).node("Const").attrs["value"]
    assert again == tensor


@LAW
@given(graphs(odd_attrs=False), st.randoms(use_true_random=False))
def test_normal_form_forgets_names_and_order(graph: Graph, rng: random.Random) -> None:
    other = _renamed(graph, rng)
    assert print_graph(other, normalise=True) == print_graph(graph, normalise=True)


@LAW
@given(graphs())
def test_normal_form_parses_and_is_a_fixed_point(graph: Graph) -> None:
    stored: dict[str, Tensor] = {}
    text = print_graph(graph, normalise=True, tensors=stored)
    assert print_graph(parse_graph(text, OPS, tensors=stored), normalise=True) == text


def _renamed(graph: Graph, rng: random.Random) -> Graph:
    """The same live structure under other names, in another topological order (dead nodes are left out of both)."""
    live = _live(graph)
    for node in reversed(list(graph)):
        if node not in live:
            for user in node.control_users:
                user.set_control(c for c in user.control if c is not node)
            graph.erase(node)
    other = Graph("other", OPS)
    values = {v: other.add_input(f"z{i}", v.type) for i, v in enumerate(graph.inputs)}
    made: dict[object, object] = {}
    rest = list(graph)
    while rest:
        ready = [n for n in rest if all(v in values for v in n.inputs) and all(c in made for c in n.control)]
        node = rng.choice(ready)
        rest.remove(node)
        new = other.add(
            node.op, [values[v] for v in node.inputs], node.attrs, name=f"n{rng.randrange(10**6)}", device=node.device,
            control=rng.sample([made[c] for c in node.control], len(node.control)), types=[v.type for v in node.outputs],  # type: ignore[misc]
        )  # fmt: skip
        made[node] = new
        values.update(zip(node.outputs, new.outputs, strict=True))
    other.set_outputs([values[v] for v in graph.outputs], [str(i) for i in range(len(graph.outputs))])
    kept = list(graph.keep.values())
    rng.shuffle(kept)
    other.set_keep({str(i): made[n] for i, n in enumerate(kept)})  # type: ignore[misc]
    return other


def _live(graph: Graph) -> set[object]:
    live = {v.producer for v in graph.outputs} | set(graph.keep.values())
    for node in reversed(graph):
        if node in live:
            live |= {v.producer for v in node.inputs} | set(node.control)
    return live  # type: ignore[return-value]


def test_different_structures_print_differently() -> None:
    texts = set()
    for op, alpha in (("Relu", None), ("LeakyRelu", 0.0), ("LeakyRelu", -0.0), ("LeakyRelu", 0.5)):
        graph = Graph("g", OPS)
        x = graph.add_input("x", TensorType(DType.FLOAT))
        node = graph.add(op, [x], {} if alpha is None else {"alpha": alpha})
        graph.set_outputs(node.outputs)
        texts.add(print_graph(graph, normalise=True))
    assert len(texts) == 4


EXAMPLE = """
# a comment
graph @main(%x: f32[?,2]) -> (%r as "r:0", %s:1) keep (%init) dialect "tf" attrs {_noinline = true} {
  %init = NoOp on "/device:CPU:0"
  %w = Const {value = f32[2,2] [[1,-2.5],[nan,inf]]} @ "w", "v"
  %m = MatMul(%x, %w) {transpose_b = true} ^init : f32[?,2]   # types may follow
  %axis = Const {value = i32[] 1}
  %s = Split(%axis, %m) {num_split = 2} : f32[?,1], f32[?,1]
  %r = Relu(%s) : f32[?,1]
}
"""


def test_the_written_form_reads_as_described() -> None:
    graph = parse_graph(EXAMPLE, OPS)
    product, split = graph.node("m"), graph.node("s")
    assert product.attrs["transpose_b"] is True
    assert product.attrs["transpose_a"] is False
    assert product.attrs["T"] is DType.FLOAT
    assert product["b"].producer is graph.node("w")
    assert product.control == (graph.node("init"),)
    assert graph.node("init").device == "/device:CPU:0"
    assert graph.node("w").origin == ("w", "v")
    weights = graph.node("w").attrs["value"]
    assert isinstance(weights, Tensor)
    np.testing.assert_array_equal(weights.numpy(), np.array([[1, -2.5], [math.nan, math.inf]], np.float32))
    assert [v.type for v in split.outputs] == [TensorType(DType.FLOAT, Shape((None, 1)))] * 2
    assert graph.output_names == ("r:0", "s:1")
    assert graph.keep == {"init": graph.node("init")}
    assert graph.attrs == {"_noinline": True}


def test_attributes_that_follow_are_left_out() -> None:
    line = next(t for t in print_graph(parse_graph(EXAMPLE, OPS)).splitlines() if "MatMul" in t)
    assert line == "  %m = MatMul(%x, %w) {transpose_b = true} ^init : f32[?,2]"


def test_large_constants_are_asked_for_by_digest() -> None:
    graph = Graph("g", OPS)
    tensor = Tensor.of(np.arange(100.0))
    graph.add("Const", [], {"value": tensor})
    stored: dict[str, Tensor] = {}
    text = print_graph(graph, tensors=stored)
    assert stored == {tensor.digest: tensor}
    assert "99" not in text.replace(tensor.digest, "")
    assert equal(parse_graph(text, OPS, tensors=stored), graph)
    with pytest.raises(ParseError, match=f"{tensor.digest} is not in the text"):
        parse_graph(text, OPS)
    with pytest.raises(ParseError, match=r"is f64\[100\], not f32\[100\]"):
        parse_graph(text.replace("f64", "f32"), OPS, tensors=stored)


@pytest.mark.parametrize(
    ("old", "new", "at", "why"),
    [
        ("%r = Relu(%s)", "%r = Relu(%t)", "%t", "%t is not defined"),
        ("%r = Relu(%s)", "%r = Relu(%s:2)", "%s:2", "has 2 results"),
        ("%r = Relu(%s)", "%m = Relu(%s)", "%m", "defined twice"),
        ("^init", "^later", "^later", "^later is not defined"),
        ("f32[2,2]", "f31[2,2]", "f31", "'f31'"),
        ("f32[2,2]", "f32[2,3]", "f32", "4 elements"),
        ("f32[2,2]", "f32[2,x]", "x", "a dimension"),
        ("transpose_b = true", "transpose_b = yes", "yes", "'yes'"),
        ("[nan,inf]", "[nan,none]", "none", "no element"),
        ("-> (%r", "(%r", "(", "'->' is expected"),
        ("@main", "main", "main", "a name"),
        ("= Relu", "Relu", "Relu", "'=' is expected"),
        ("= NoOp", "= NoOp ~", "~", "'~'"),
        ('"w", "v"', '"w", "\\x"', '"\\x"', "quoted"),
    ],
)
def test_errors_show_the_place(old: str, new: str, at: str, why: str) -> None:
    text = EXAMPLE.replace(old, new)
    before = text[: text.index(new) + new.index(at)]
    with pytest.raises(ParseError) as caught:
        parse_graph(text, OPS)
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert caught.value.where == (f"line {line}, column {column}",)
    assert why in caught.value.why


@given(st.text(max_size=40), st.integers(0, len(EXAMPLE)))
def test_damaged_texts_fail_in_one_way(junk: str, cut: int) -> None:
    text = EXAMPLE[:cut] + junk + EXAMPLE[cut + len(junk) :]
    with contextlib.suppress(ParseError, InvalidGraph):
        verify_graph(parse_graph(text, OPS))


@given(dtypes, shapes)
def test_types_read_as_they_print(dtype: DType, shape: Shape) -> None:
    text = f"graph @g(%x: {TensorType(dtype, shape)}) -> () {{}}"
    assert parse_graph(text, OPS).inputs[0].type == TensorType(dtype, shape)


def _module() -> Module:
    main, body = Graph("main", OPS), Graph("body", OPS)
    y = body.add_input("y", TensorType(DType.FLOAT))
    body.set_outputs(body.add("Relu", [y]).outputs, ["out"])
    x = main.add_input("x", TensorType(DType.FLOAT))
    call = main.add("PartitionedCall", [x], {"f": FuncRef("body"), "Tout": (DType.FLOAT,)})
    main.set_outputs(call.outputs)
    module = Module(main, OPS, versions=(1395, 12, (3,)), gradients=(("body", "body_grad"),))
    module.add_function(body)
    module.lowered["body"] = parse_graph(
        'graph @body(%y: f32[*]) -> (%z) dialect "trt" { %z = trt.relu(%y) : f32[*] }', OPS
    )
    module.opaque_functions["poly"] = object()
    return module


def test_modules_print_and_parse() -> None:
    module = _module()
    text = print_module(module)
    with pytest.raises(ParseError, match="'poly' is carried along unread"):
        parse_module(text, OPS)
    again = parse_module(text, OPS, opaque=module.opaque_functions)
    assert list(differences(module, again)) == []
    assert print_module(again) == text
    assert violations(again) == []
    assert again.main.functions("body") is again.functions["body"]


def test_normal_form_of_modules_forgets_function_names() -> None:
    text = print_module(_module())
    renamed = text.replace("body", "other").replace("other_grad", "body_grad")
    ours, theirs = (parse_module(t, OPS, opaque={"poly": None}) for t in (text, renamed))
    theirs.gradients = ours.gradients
    assert not equal(ours, theirs)
    assert print_module(ours, normalise=True) == print_module(theirs, normalise=True)


def test_functions_called_as_ops_are_known() -> None:
    text = """module {versions = [1,0,[]], gradients = []}
    graph @main(%x: f32[2]) -> (%c) { %c = double(%x) : f32[2] }
    function @double(%a: f32[2]) -> (%s as "sum") { %s = AddV2(%a, %a) : f32[2] }
    """
    module = parse_module(text, OPS)
    definition = module.main.node("c").definition
    assert definition is not None
    assert [a.name for a in definition.inputs] == ["a"]
    assert violations(module) == []


@pytest.mark.parametrize(
    ("a", "b"), [(1, 1.0), (True, 1), (0.0, -0.0), ("a", b"a"), ((1,), (True,)), (Shape((1,)), (1,)), (None, False)]
)
def test_comparison_is_strict(a: object, b: object) -> None:
    assert not same_attr(a, b)
    assert same_attr(a, a)


def test_differences_are_named() -> None:
    ours, theirs = parse_graph(EXAMPLE, OPS), parse_graph(EXAMPLE, OPS)
    theirs.node("m").set_attr("transpose_b", False)
    theirs.node("r").device = "/GPU:1"
    found = list(differences(ours, theirs))
    assert len(found) == 2
    assert "MatMul node 'm': attribute 'transpose_b' True became False" in found[0]


@pytest.mark.parametrize("bits", [0x7F810000, 0x7FC00001, 0x80000000])
def test_complex_numbers_keep_their_bits(bits: int) -> None:
    """The payload of a signalling NaN, which Python's own complex numbers would lose."""
    tensor = Tensor.of(np.array([bits, 0, 0, bits], np.uint32).view(np.complex64))
    graph = Graph("g", tf_op_table())
    graph.set_outputs([graph.add("Const", [], {"value": tensor, "dtype": tensor.dtype}, types=[tensor.type]).output])
    text = print_module(Module(graph, tf_op_table()))
    assert print_module(parse_module(text, tf_op_table())) == text
