from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from framework.sample_passes import OPS, context, run
from ir.tf_graphs import CASES, of_function

from tfgraphopt.graphdef import export_graph_def
from tfgraphopt.ir import Module, Shape, Tensor
from tfgraphopt.ir.text import parse_graph, print_graph
from tfgraphopt.ir.verify import verify
from tfgraphopt.passes import Pass
from tfgraphopt.transforms.cse import CommonSubexpressionElimination
from tfgraphopt.transforms.dead_code import DeadCodeElimination
from tfgraphopt.transforms.fold_constants import FoldConstants
from tfgraphopt.transforms.identity import RemoveIdentity
from tfgraphopt.transforms.infer_types import InferTypes
from tfgraphopt.transforms.inline_functions import InlineFunctions
from transforms.laws import check_laws, ops, transformed

CSE, DCE, FOLD, IDENTITY, TYPES, INLINE = (
    CommonSubexpressionElimination(), DeadCodeElimination(), FoldConstants(), RemoveIdentity(), InferTypes(), InlineFunctions(),
)  # fmt: skip
MATRIX = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


@pytest.mark.parametrize("step", [CSE, DCE, FOLD, IDENTITY, TYPES, INLINE], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_every_pass_keeps_the_laws_on_tensorflows_graphs(case: str, step: Pass) -> None:
    check_laws(CASES[case](), step)


@pytest.mark.parametrize("case", CASES)
def test_all_passes_together_keep_the_laws(case: str) -> None:
    made = CASES[case]()
    module = transformed(made, INLINE, TYPES, IDENTITY, FOLD, CSE, DCE)
    export_graph_def(module, verbatim=False)
    check_laws(made, INLINE, TYPES, IDENTITY, FOLD, CSE, DCE)


def made(text: str, *steps: Pass) -> Module:
    module = Module(parse_graph(text, OPS), OPS)
    run([*steps], context(module))
    verify(module)
    return module


# -- infer-types ---------------------------------------------------------------------------------------------------------


def test_types_are_inferred_and_better_knowledge_stays() -> None:
    module = made(
        """graph @main(%x: f32[?,4]) -> (%r) {
          %w = Const {value = f32[4,2] [[1,2],[3,4],[5,6],[7,8]]}
          %m = MatMul(%x, %w) : f32[*]
          %r = Relu(%m) : f32[7,*]
        }""".replace("f32[7,*]", "f32[7,2]"),
        TYPES,
    )
    assert module.main.node("m").output.shape == Shape((None, 2))
    assert module.main.node("r").output.shape == Shape((7, 2))


def test_unregistered_ops_keep_their_types() -> None:
    module = made('graph @main(%x: f32[2]) -> (%r) { %u = "Acme>Op"(%x) : f32[5] %r = Relu(%u) : f32[*] }', TYPES)
    assert module.main.node("r").output.shape == Shape((5,))


# -- remove-identity -----------------------------------------------------------------------------------------------------


def test_identities_go_unless_they_mean_something() -> None:
    module = made(
        """graph @main(%x: f32[2]) -> (%fetched) {
          %wait = NoOp
          %plain = Identity(%x) : f32[2]
          %stop = StopGradient(%plain) : f32[2]
          %several = IdentityN(%stop, %x) : f32[2], f32[2]
          %waits = Identity(%several) ^wait : f32[2]
          %other = Identity(%waits) : f32[2] on "/device:CPU:1"
          %sum = AddV2(%other, %several:1) : f32[2]
          %fetched = Identity(%sum) : f32[2]
        }""",
        IDENTITY,
    )
    assert [n.name for n in module.main] == ["wait", "waits", "other", "sum", "fetched"]
    assert module.main.node("waits").inputs == module.main.inputs


def test_identities_of_branches_stay() -> None:
    text = """graph @main(%x: f32[], %p: bool[]) -> (%m) {
      %s = Switch(%x, %p) : f32[], f32[]
      %pivot = Identity(%s:1) : f32[]
      %c = Const {value = f32[] 1} ^pivot
      %n = Neg(%s) : f32[]
      %m = Merge(%n, %c) : f32[], i32[]
    }"""
    assert print_graph(made(text, IDENTITY).main) == print_graph(parse_graph(text, OPS))


# -- fold-constants ------------------------------------------------------------------------------------------------------


def test_constants_are_folded_to_what_tensorflow_computes() -> None:
    def function(x: Any) -> Any:
        w = tf.transpose(tf.reshape(tf.range(12.0), [3, 4])) * 2.0
        return tf.matmul(x, tf.nn.relu(w - 5.0))

    module = check_laws(of_function(function, MATRIX), FOLD, DCE)
    assert set(ops(module)) == {"Placeholder", "Const", "MatMul", "Identity"}


def test_known_shapes_become_numbers() -> None:
    def function(x: Any) -> Any:
        shape = tf.shape(x)
        return tf.reshape(x, [-1, shape[1]]), tf.reshape(tf.transpose(x), [shape[-1], -1]), tf.rank(x)

    module = check_laws(of_function(function, MATRIX), FOLD, DCE)
    found = ops(module)
    assert "StridedSlice" not in found
    assert "Rank" not in found


def test_what_must_not_be_folded_is_not() -> None:
    text = """graph @main() -> (%u, %waits, %big, %words) {
      %shape = Const {value = i32[2] [2000,2000]}
      %u = RandomUniform(%shape) {dtype = f32} : f32[2000,2000]
      %wait = NoOp
      %one = Const {value = f32[] 1}
      %waits = Neg(%one) ^wait : f32[]
      %big = Fill(%shape, %one) : f32[2000,2000]
      %text = Const {value = str[] "a"}
      %words = StringLower(%text) : str[]
    }"""
    before = parse_graph(text, OPS)
    assert print_graph(made(text, FOLD).main) == print_graph(before)
    assert made(text, FoldConstants(max_bytes=1 << 24), DCE).main.outputs[2].producer.op == "Const"  # type: ignore[union-attr]


def test_only_the_frontier_is_kept() -> None:
    module = made(
        """graph @main(%x: f32[2]) -> (%r) {
          %a = Const {value = f32[2] [1,2]}
          %b = Neg(%a) : f32[2]
          %c = Exp(%b) : f32[2]
          %r = AddV2(%x, %c) : f32[2]
        }""",
        FOLD, DCE,
    )  # fmt: skip
    assert ops(module) == {"Const": 1, "AddV2": 1}
    (const,) = [n for n in module.main if n.op == "Const"]
    value = const.attrs["value"]
    assert isinstance(value, Tensor)
    np.testing.assert_array_equal(value.numpy(), tf.exp(-np.array([1, 2], np.float32)).numpy())


# -- cse -----------------------------------------------------------------------------------------------------------------


def test_equal_nodes_are_computed_once() -> None:
    module = made(
        """graph @main(%x: f32[2], %y: f32[2]) -> (%r) {
          %a = AddV2(%x, %y) : f32[2] @ "a"
          %b = AddV2(%y, %x) : f32[2] @ "b"
          %c = Relu(%a) : f32[2]
          %d = Relu(%b) : f32[2]
          %after = NoOp ^d
          %r = Mul(%c, %d) ^after : f32[2]
        }""",
        CSE,
    )
    assert [n.name for n in module.main] == ["a", "c", "after", "r"]
    assert module.main.node("after").control == (module.main.node("c"),)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("LeakyRelu(%x) {alpha = 0.0}", "LeakyRelu(%x) {alpha = -0.0}"),
        ("LeakyRelu(%x) {alpha = 0.5}", "LeakyRelu(%x) {alpha = 0.25}"),
        ("Sub(%x, %y)", "Sub(%y, %x)"),
        ("Relu(%x) ^w", "Relu(%x)"),
        ("Relu(%x)", "Relu6(%x)"),
        ("RandomStandardNormal(%n) {dtype = f32}", "RandomStandardNormal(%n) {dtype = f32}"),
        ("Placeholder {dtype = f32, shape = shape[2]}", "Placeholder {dtype = f32, shape = shape[2]}"),
        ("Const {value = f32[2] [0.0,1]}", "Const {value = f32[2] [-0.0,1]}"),
    ],
)
def test_nodes_that_differ_stay_apart(one: str, two: str) -> None:
    text = f"""graph @main(%x: f32[2], %y: f32[2], %n: i32[1]) -> (%r) {{
      %w = NoOp
      %a = {one} : f32[2]
      %b = {two} : f32[2]
      %r = AddV2(%a, %b) : f32[2]
    }}"""
    assert len(made(text, CSE).main) == 4


def test_fetched_and_placed_nodes_stay() -> None:
    text = """graph @main(%x: f32[2]) -> (%a, %b) {
      %a = Relu(%x) : f32[2]
      %b = Relu(%x) : f32[2]
      %c = Neg(%b) : f32[2] on "/device:CPU:0"
      %d = Neg(%b) : f32[2] on "/device:CPU:1"
    }"""
    found = made(text, CSE)
    assert [n.name for n in found.main] == ["a", "b", "c", "d"]


# -- dce -----------------------------------------------------------------------------------------------------------------


def test_dead_nodes_go_and_names_to_feed_stay() -> None:
    module = made(
        """graph @main() -> (%r) keep (%target) {
          %unused = Placeholder {dtype = f32, shape = shape[2]} : f32[2]
          %x = Placeholder {dtype = f32, shape = shape[2]} : f32[2]
          %dead = Neg(%x) : f32[2]
          %dead2 = Exp(%dead) : f32[2]
          %waited = Neg(%x) : f32[2]
          %target = NoOp ^waited
          %r = Relu(%x) : f32[2]
        }""",
        DCE,
    )
    assert {n.name for n in module.main} == {"unused", "x", "waited", "target", "r"}


def test_effects_of_functions_stay() -> None:
    main = parse_graph(
        "graph @main(%x: f32[2]) -> (%c) { %c = StatefulPartitionedCall(%x) {f = @f, Tout = [f32]} : f32[2] }", OPS
    )
    body = parse_graph(
        """function @f(%x: f32[2]) -> (%x) {
          %t = Const {value = str[] "seen"}
          %p = PrintV2(%t)
          %dead = Neg(%x) : f32[2]
        }""",
        OPS,
    )
    module = Module(main, OPS)
    module.add_function(body)
    run([DCE], context(module))
    assert [n.name for n in body] == ["t", "p"]
