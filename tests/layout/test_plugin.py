"""The plugin as users and third parties meet it: pipeline, report, a rule of one's own, inputs and outputs in another order."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfgraphopt import Config, hookimpl, plugins
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.ir import DType, Graph, OpTable, Shape, TensorType
from tfgraphopt.optimization import Result, optimize_graph_def
from tfgraphopt_layout import axis_rule
from tfgraphopt_layout.layout import RULES_HOOK, lay_out
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import all_layers, layer_map
from tfgraphopt_trt.meaning import evaluate

Array = np.ndarray[Any, Any]


def model() -> GraphDef:
    """A small channels-last network: image (batch, 8, 8, 3), outputs features (batch, 8, 8, 4) and scores (batch, 5)."""
    random = np.random.default_rng(3)
    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
        kernel = tf.constant(random.normal(size=(3, 3, 3, 4)).astype(np.float32))
        features = tf.nn.relu(
            tf.nn.conv2d(image, kernel, 1, "SAME") + random.normal(size=4).astype(np.float32), name="features"
        )
        pooled = tf.reduce_mean(features, [1, 2])
        dense = tf.matmul(pooled, tf.constant(random.normal(size=(4, 5)).astype(np.float32)))
        tf.nn.softmax(dense, name="scores")
    return graph.as_graph_def()


def optimised(outputs: Sequence[str] = ("features", "scores"), **options: Any) -> Result:
    """The model, lowered and laid out, nothing built."""
    return optimize_graph_def(model(), outputs, Config(engine="none", max_batch_size=4, **options))


def run(graph_def: GraphDef, image: Array) -> list[Array]:
    """Both outputs, by TensorFlow."""
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        found: list[Array] = session.run(["features:0", "scores:0"], {"image:0": image})
    return found


def lowered(result: Result) -> Graph:
    """The only lowered body."""
    (graph,) = result.module.lowered.values()
    return graph


def transposes(graph: Graph) -> list[Shape]:
    """What the transposes of ``graph`` read."""
    return [n.inputs[0].shape for n in graph if n.op == "trt.transpose"]


def test_the_pass_is_in_the_default_pipeline_and_reports() -> None:
    result = optimised(["scores"])
    steps = result.report.pipeline.split(",")
    assert steps.index("lower") < steps.index("layout") < steps.index("trt-canonicalize")
    (segment,) = result.report.segments.values()
    assert segment.details["permuted_bytes"] < segment.details["permuted_bytes_before_layout"]
    assert transposes(lowered(result)) == [Shape([None, 8, 8, 3])]


IMAGE = np.random.default_rng(5).normal(size=(2, 8, 8, 3)).astype(np.float32)
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def check_close(found: Sequence[Array], wanted: Sequence[Array]) -> None:
    """Equal up to rounding."""
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-5)


def test_callers_may_keep_an_input_and_an_output_channels_first() -> None:
    """No transpose is left, and the engine's body computes what the model computes."""
    orders = {"inputs": {"image": CHANNELS_FIRST}, "outputs": {"features": CHANNELS_FIRST}}
    result = optimised(options={"layout": orders})
    body = lowered(result)
    assert transposes(body) == []
    features, scores = run(model(), IMAGE)
    found = evaluate(body, layer_map(), [IMAGE.transpose(CHANNELS_FIRST)])
    by_shape = {a.ndim: a for a in found}
    check_close([by_shape[4].transpose(CHANNELS_LAST), by_shape[2]], [features, scores])


def test_the_boundary_holds_in_the_exported_graph() -> None:
    """The exported GraphDef takes and gives the callers' order under the old names, here with nothing but TensorFlow in it."""
    orders = {"inputs": {"image": CHANNELS_FIRST}, "outputs": {"features:0": CHANNELS_FIRST}}
    config = Config(engine="none", options={"layout": orders}, pipeline="infer-types,layout-boundary", max_batch_size=4)
    from tfgraphopt.graphdef import export_graph_def

    exported = export_graph_def(optimize_graph_def(model(), ["features", "scores"], config).module)
    features, scores = run(exported, IMAGE.transpose(CHANNELS_FIRST))
    check_close([features.transpose(CHANNELS_LAST), scores], run(model(), IMAGE))


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"inputs": {"picture": CHANNELS_FIRST}}, "picture"),
        ({"outputs": {"logits": CHANNELS_FIRST}}, "logits"),
        ({"outputs": {"image": CHANNELS_FIRST}}, "which is an input"),
        ({"inputs": {"image": (0, 1, 1, 2)}}, "permutation"),
        ({"inputs": {"image": (1, 0)}}, "fit"),
        ({"images": {}}, "inputs"),
    ],
)  # fmt: skip
def test_wrong_orders_are_refused(orders: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        optimised(["features", "scores", "image"], options={"layout": orders})


# -- a layer and a rule of a third party -----------------------------------------------------------------------------


def _mean(tf: Any, inputs: Sequence[Any], attrs: Any) -> Sequence[Any]:
    return [tf.reverse(inputs[0], [attrs["axis"]])]


def _refuse(emitter: Any, node: Any) -> Sequence[Any]:
    raise NotImplementedError


REVERSE = LayerDef(
    "acme.reverse", lambda inputs, attrs: [inputs[0].type], _mean, _refuse, {}, ("x",), "Reverses an axis."
)


def _acme(rules: Sequence[Any]) -> Any:
    """A third party's plugin."""
    plugin: Any = types.ModuleType("acme")
    plugin.tfgraphopt_trt_layers = hookimpl(specname="tfgraphopt_trt_layers")(lambda: [REVERSE])
    plugin.tfgraphopt_layout_rules = hookimpl(specname="tfgraphopt_layout_rules")(lambda: rules)
    return plugin


@pytest.mark.parametrize("with_rule", [True, False])
def test_a_third_party_adds_a_rule_for_its_layer(with_rule: bool) -> None:
    tables = plugins.load(extra=[("acme", _acme([axis_rule("acme.reverse")] if with_rule else []))])
    layers = (*all_layers(), REVERSE)
    graph = Graph("acme", OpTable(layer.op_def() for layer in layers), dialect="trt")
    x = graph.add_input("x", TensorType(DType.FLOAT, Shape([2, 3, 4, 5])))
    first = graph.add("trt.transpose", [x], {"perm": CHANNELS_LAST}).output
    turned = graph.add("acme.reverse", [first], {"axis": 3}).output
    graph.set_outputs([graph.add("trt.transpose", [turned], {"perm": CHANNELS_FIRST}).output])
    feed = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    lay_out(graph, tables.table(RULES_HOOK))
    assert len(transposes(graph)) == (0 if with_rule else 2)
    (found,) = evaluate(graph, layer_map(layers), [feed])
    np.testing.assert_array_equal(found, feed[:, ::-1])
