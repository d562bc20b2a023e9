"""XLA engines: compiled for real (XLA:CPU here), the results are TensorFlow's, and what XLA cannot take says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from tfgraphopt import plugins
from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import converter
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_xla.rows import RowRule
from tfgraphopt_xla.support import compilable
from xla_engine.nets import (
    BATCHES,
    ENGINE,
    Array,
    assert_close,
    cnn,
    images,
    in_fresh_process,
    in_session,
    optimised,
)

OUTPUTS = ("y", "map")
XLA_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@pytest.fixture(scope="module")
def net() -> tuple[Any, tgo.Result]:
    graph_def = cnn()
    return graph_def, optimised(graph_def, OUTPUTS, input_shapes=BATCHES, strict=True)


def test_stock_tensorflow_compiles_one_program_a_bucket_with_no_transpose(
    net: tuple[Any, tgo.Result], tmp_path: Path
) -> None:
    """Batches of 1, 3 and 5 run as 1, 4 and 8; 9 is beyond the profile and compiled for on its own."""
    graph_def, result = net
    feeds = {str(n): images(n) for n in (1, 3, 5, 9)}
    ran = in_fresh_process(result.graph_def, feeds, OUTPUTS, tmp_path)
    for key, x in feeds.items():
        for name, expected in zip(OUTPUTS, in_session(graph_def, {"x": x}, OUTPUTS), strict=True):
            assert_close(ran.results[f"{key}/{name}"], expected)
    assert ran.batches() == [1, 4, 8, 9]
    assert set(ran.counted("convolution", "transpose")) == {(3, 0)}


def test_the_graph_has_no_op_of_ours(net: tuple[Any, tgo.Result]) -> None:
    graph = net[1].graph_def
    bodies = [graph.node, *(f.node_def for f in graph.library.function)]
    ops = {n.op for body in bodies for n in body}
    assert not {op for op in ops if op.startswith(("TRT", "Tfgraphopt", "trt.", "xla."))}
    calls = [n for body in bodies for n in body if n.op in XLA_CALLS and "_XlaMustCompile" in n.attr]
    assert len({n.attr["f"].func.name for n in calls}) == 1
    assert {n.name: n.op for n in graph.node} == {
        "x": "Placeholder", ENGINE: "PartitionedCall", "y": "Identity", "map": "Identity",
    }  # fmt: skip


def test_equal_models_become_equal_graphs(net: tuple[Any, tgo.Result]) -> None:
    again = optimised(cnn(), OUTPUTS, input_shapes=BATCHES)
    assert again.graph_def.SerializeToString(deterministic=True) == net[1].graph_def.SerializeToString(
        deterministic=True
    )


def test_the_report_has_the_engine(net: tuple[Any, tgo.Result]) -> None:
    segment = net[1].report.segments[ENGINE]
    assert (segment.status, segment.engine) == ("built", f"XLA of TensorFlow {tf.__version__}")
    assert segment.details["xla"] == {"buckets": [1, 2, 4, 8], "compiled_per_shape": "", "weights": "constants"}
    assert segment.layers["convolution"] == 3
    verdicts = net[1].report.verdicts.values()
    assert {v.segment for v in verdicts if v.status == "converted"} == {ENGINE}


@pytest.mark.parametrize(
    "options", [{"weights": "arguments"}, {"layout": "as_lowered"}, {"buckets": "none"}, {"pointwise": "product"}]
)
def test_every_option_computes_the_same(net: tuple[Any, tgo.Result], options: dict[str, str]) -> None:
    result = optimised(net[0], OUTPUTS, input_shapes=BATCHES, options={"xla": options}, strict=True)
    for n in (0, 3):
        for made, expected in zip(
            *(in_session(g, {"x": images(n)}, OUTPUTS) for g in (result.graph_def, net[0])), strict=True
        ):
            assert_close(made, expected)
    constants = [n for n in result.graph_def.node if n.op == "Const"]
    assert bool(constants) == ("weights" in options)


@pytest.mark.parametrize(
    ("batch", "options", "products"),
    [(2, {}, 1), (2, {"max_product_rows": 127}, 0), (2, {"max_product_work": 128 * 24 - 1}, 0), (2, {"max_product_work": 128 * 24}, 1),
     (129, {}, 0)],
)  # fmt: skip
def test_small_convolutions_of_one_element_are_products(batch: int, options: dict[str, int], products: int) -> None:
    """Of 4 channels to 6, over images of 8 x 8."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, (None, 8, 8, 4), name="x")
        tf.nn.conv2d(x, tf.random.stateless_normal((1, 1, 4, 6), (1, 2)), 1, "SAME", name="y")
    result = optimised(graph.as_graph_def(), ("y",), max_batch_size=batch, options={"xla": options}, strict=True)
    ops = [node.op for function in result.graph_def.library.function for node in function.node_def]
    assert (ops.count("MatMul"), ops.count("Conv2D")) == (products, 1 - products)


def test_the_profile_says_which_buckets(net: tuple[Any, tgo.Result]) -> None:
    def buckets(**options: Any) -> Any:
        return optimised(net[0], OUTPUTS, **options).report.segments[ENGINE].details["xla"]["buckets"]

    assert buckets(input_shapes=BATCHES, options={"xla": {"buckets": "profiles"}}) == [1, 4, 8]
    assert buckets(max_batch_size=6, options={"xla": {"buckets": [3, 6]}}) == [3, 6]
    assert buckets(max_batch_size=6) == [1, 2, 4, 6]
    assert buckets() == []


def test_a_saved_model_runs_in_half_precision(net: tuple[Any, tgo.Result], tmp_path: Path) -> None:
    graph_def, _ = net
    result = optimised(graph_def, OUTPUTS, input_shapes=BATCHES, precision="fp16")

    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(result.graph_def, name=""), [])
    module = tf.Module()
    module.f = wrapped.prune(["x:0"], ["y:0", "map:0"])
    tf.saved_model.save(module, str(tmp_path), signatures=module.f)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    found = sorted(served(tf.constant(images(3))).items())
    for (_, made), expected in zip(found, in_session(graph_def, {"x": images(3)}, OUTPUTS), strict=True):
        assert_close(made.numpy(), expected, 1e-2)
    assert result.report.segments[ENGINE].layers["cast"] >= 2


def _two_inputs() -> Any:
    with tf.Graph().as_default() as graph:
        ids = tf.compat.v1.placeholder(tf.int32, [None, 6], name="ids")
        mask = tf.compat.v1.placeholder(tf.float32, [None, 6], name="mask")
        table = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        h = tf.gather(table, ids) * mask[:, :, None]
        flat = tf.reshape(h, [-1, 4])
        h = tf.reshape(tf.nn.relu(tf.matmul(flat, table[:4])), tf.shape(h))
        scores = tf.nn.softmax(tf.matmul(h, h, transpose_b=True) + (mask[:, None] - 1.0) * 1e4)
        tf.reshape(tf.matmul(scores, h), [-1, 4], name="y")
        tf.cast(tf.argmax(h[:, 0], -1), tf.int32, name="best")
    return graph.as_graph_def()


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_several_inputs_and_results_of_several_rows_each(batch: int) -> None:
    graph_def, outputs = _two_inputs(), ("y", "best")
    result = optimised(graph_def, outputs, max_batch_size=4, strict=True)
    (segment,) = result.report.segments.values()
    assert segment.details["xla"]["buckets"] == [1, 2, 4]
    rng = np.random.default_rng(batch)
    feeds: dict[str, Array] = {
        "ids": rng.integers(0, 20, (batch, 6)).astype(np.int32), "mask": rng.integers(0, 2, (batch, 6)).astype(np.float32)
    }  # fmt: skip
    for made, expected in zip(*(in_session(g, feeds, outputs) for g in (result.graph_def, graph_def)), strict=True):
        assert_close(made, expected)


def test_a_network_that_mixes_its_rows_is_compiled_for_every_batch_size() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        h = tf.nn.relu(x) + 1.0
        tf.subtract(h, tf.reduce_mean(h, 0, keepdims=True), name="y")
    graph_def = graph.as_graph_def()
    result = optimised(graph_def, ["y"], max_batch_size=8, strict=True)
    (segment,) = result.report.segments.values()
    reason = segment.details["xla"]["compiled_per_shape"]
    assert "Mean" in reason
    assert "which the rows lie along" in reason
    for n in (3, 5):
        feeds = {"x": np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32)}
        assert_close(*(in_session(g, feeds, ["y"])[0] for g in (result.graph_def, graph_def)))


def test_a_loop_is_compiled() -> None:
    """As often as data say, which no engine can know."""

    def loop(x: Any) -> Any:
        def body(i: Any, h: Any) -> Any:
            return i + 1, tf.tanh(tf.nn.relu(tf.matmul(h, np.eye(4, dtype=np.float32) * 1.1) + 0.5))

        trips = tf.reduce_sum(tf.cast(x > 0.0, tf.int32))
        return tf.identity(tf.while_loop(lambda i, h: i < trips, body, [tf.constant(0), x])[1], name="y")

    traced = tf.function(loop, autograph=False).get_concrete_function(tf.TensorSpec([None, 4], name="x"))
    graph_def = traced.graph.as_graph_def()
    result = optimised(graph_def, ["y"], max_batch_size=4, strict=True)
    assert {s.status for s in result.report.segments.values()} == {"built"}
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    assert_close(*(in_session(g, feeds, ["y"])[0] for g in (result.graph_def, graph_def)))


# -- refusals --------------------------------------------------------------------------------------------------------


def test_sizes_that_data_decide_stay_in_tensorflow_with_the_reason() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        rows = tf.compat.v1.placeholder(tf.int32, [], name="rows")
        h = tf.nn.relu(tf.tanh(x) * 2.0)
        tf.nn.sigmoid(tf.reshape(h, tf.stack([rows, -1]), name="by_data") * 3.0, name="y")
        tf.nn.sigmoid(tf.reshape(h, tf.stack([2 * tf.shape(x)[0], -1]), name="by_shape") * 3.0, name="z")
    graph_def = graph.as_graph_def()
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "rows": np.int32(6)}
    result = optimised(graph_def, ["y", "z"], max_batch_size=4)
    verdict = result.report.verdicts["by_data"]
    assert (verdict.status, verdict.reason) == ("vetoed", "XLA needs its shape when it compiles, and %rows is data")
    assert result.report.verdicts["by_shape"].status == "converted"
    behind = next(s for s in result.report.segments.values() if s.status != "built")
    assert "for every size that data bring" in behind.reason
    each = optimised(graph_def, ["y", "z"], max_batch_size=4, strict=True, options={"xla": {"buckets": "none"}})
    assert {s.status for s in each.report.segments.values()} == {"built"}
    for graph in (result.graph_def, each.graph_def):
        for made, expected in zip(*(in_session(g, feeds, ["y", "z"]) for g in (graph, graph_def)), strict=True):
            assert_close(made, expected)


def _acme(meaning: Any, **more: object) -> plugins.Tables:
    """A third party's conversion of Tanh to a layer of theirs that means ``meaning``."""

    class Acme:
        @tgo.hookimpl(optionalhook=True)
        def tfgraphopt_trt_layers(self) -> Any:
            return [LayerDef("acme.tanh", lambda inputs, attrs: [inputs[0].type], meaning, lambda e, node: [])]

        @tgo.hookimpl(optionalhook=True)
        def tfgraphopt_trt_converters(self) -> Any:
            @converter("Tanh", overrides="converters")
            def tanh(b: LayerBuilder, x: Operand) -> Operand:
                """As acme does it."""
                return b.layer("acme.tanh", [x])[0]

            return [tanh]

    return plugins.load(extra=[("acme", Acme()), *more.items()], strict=True)


def _tanh() -> Any:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        tf.nn.relu(tf.tanh(x * 2.0, name="tanh") + 1.0, name="y")
    return graph.as_graph_def()


def test_a_layer_that_means_an_op_that_xla_lacks_is_refused() -> None:
    tables = _acme(lambda tf_, inputs, attrs: [tf_.strings.to_number(tf_.strings.as_string(tf_.tanh(inputs[0])))])
    verdict = optimised(_tanh(), ["y"], tables, max_batch_size=4).report.verdicts["tanh"]
    assert (verdict.status, verdict.reason) == ("refused", "XLA cannot compile TensorFlow's AsString")


def test_a_segment_that_cannot_be_handed_to_xla_is_put_back_with_its_words() -> None:
    def by_its_numbers(tf_: Any, inputs: Any, attrs: Any) -> Any:
        return [tf_.reshape(tf_.tanh(inputs[0]), [tf_.cast(tf_.reduce_sum(inputs[0]), tf_.int32), 4])]

    tables, graph_def = _acme(by_its_numbers), _tanh()
    result = optimised(graph_def, ["y"], tables, max_batch_size=4)
    (segment,) = result.report.segments.values()
    assert segment.status == "build failed"
    assert "compile-time constant" in segment.reason
    assert "tanh" in segment.reason
    assert result.report.verdicts["tanh"].status == "build failed"
    feeds = {"x": np.ones((2, 4), np.float32)}
    assert_close(*(in_session(g, feeds, ["y"])[0] for g in (result.graph_def, graph_def)))
    with pytest.raises(EngineBuildFailed, match="compile-time constant"):
        optimised(graph_def, ["y"], tables, max_batch_size=4, strict=True)


def test_a_third_party_says_how_rows_pass_through_its_layer() -> None:
    class Rules:
        @tgo.hookimpl(optionalhook=True)
        def tfgraphopt_xla_row_rules(self) -> Any:
            return [RowRule(("acme.tanh",), lambda node, states: states[:1])]

    def buckets(**more: object) -> Any:
        tables = _acme(lambda tf_, inputs, attrs: [tf_.tanh(inputs[0])], **more)
        (segment,) = optimised(_tanh(), ["y"], tables, max_batch_size=4, strict=True).report.segments.values()
        return segment.details["xla"]

    assert "no rule says how rows pass through acme.tanh" in buckets()["compiled_per_shape"]
    assert buckets(rules=Rules())["buckets"] == [1, 2, 4]


def test_kernels_are_asked_of_tensorflow() -> None:
    assert compilable("Conv2D")
    assert not compilable("StringJoin")


@pytest.mark.parametrize("options", [{"layout": "nchw"}, {"buckets": []}, {"buckets": [0]}, {"speed": 11}, 3])
def test_wrong_options_are_refused(options: Any) -> None:
    with pytest.raises(ConfigError, match="xla"):
        optimised(_tanh(), ["y"], max_batch_size=4, options={"xla": options})


# -- auto ------------------------------------------------------------------------------------------------------------


def _kinds(**problems: str | None) -> plugins.Tables:
    """The shipped kinds of engines, with what speaks against each given."""
    table = plugins.load(strict=True).table("tfgraphopt_trt_engines")
    kinds = [
        attrs.evolve(k, unusable=lambda n=n: problems[n], overrides=_owner(n))  # type: ignore[misc]
        for n, k in table.items()
    ]

    class Machine:
        @tgo.hookimpl(optionalhook=True)
        def tfgraphopt_trt_engines(self) -> Any:
            return kinds

    return plugins.load(extra=[("machine", Machine())], strict=True)


def _owner(kind: str) -> str:
    """The plugin that brings a kind of engine."""
    return plugins.load(strict=True).owner("tfgraphopt_trt_engines", kind)


@pytest.mark.parametrize(
    ("problems", "chosen"),
    [
        ({"tensorrt": "no TensorRT", "xla": None, "openvino": None}, "XlaEngine"),
        ({"tensorrt": "no TensorRT", "xla": "no GPU", "openvino": None}, "TfgraphoptEngineOp"),
    ],
)
def test_auto_takes_xla_before_openvino(problems: dict[str, str | None], chosen: str) -> None:
    pytest.importorskip("openvino")
    result = optimised(_tanh(), ["y"], _kinds(**problems), engine="auto", max_batch_size=4)
    (segment,) = result.report.segments.values()
    assert segment.name.startswith(chosen)


def test_auto_leaves_everything_to_tensorflow_where_no_engine_runs() -> None:
    tables = _kinds(tensorrt="no TensorRT", xla="no GPU", openvino="not installed")
    graph_def = _tanh()
    result = optimised(graph_def, ["y"], tables, engine="auto", max_batch_size=4)
    assert result.graph_def == graph_def
    assert not result.report.segments
    (said,) = [m for m in result.report.messages if "no engine can run" in m]
    assert all(reason in said for reason in ("no TensorRT", "no GPU", "not installed"))
    assert "no engine can run" in result.report.verdicts["tanh"].reason
