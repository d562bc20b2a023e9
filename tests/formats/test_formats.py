"""Models in, models out: every format against TensorFlow running the original, with everything kept that an engine did not take."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf
from formats.models import (
    WIDTH,
    Everything,
    frozen_graph,
    images,
    keras_model,
    numbers,
    save_checkpoint,
    save_everything,
    save_tf1,
    tf1_graph,
)  # fmt: skip
from google.protobuf import text_format
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.cli import main
from tfgraphopt.errors import ConfigError, GraphDefError

WORDS = np.array([b"dog", b"bird", b"cat"])
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


def optimise(model: Any, **given: Any) -> tgo.Result:
    """Segments that run their TensorFlow bodies: what is tested here is what is around them."""
    return tgo.optimize(model, engine="none", **{"max_batch_size": 4, **given})


def equal(made: Any, expected: Any) -> None:
    """Nested structures of tensors are equal, numbers up to rounding."""
    tf.nest.assert_same_structure(made, expected)
    for a, b in zip(tf.nest.flatten(made), tf.nest.flatten(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        if np.issubdtype(b.dtype, np.floating):
            np.testing.assert_allclose(a, b, **TOLERANCE)
        else:
            np.testing.assert_array_equal(a, b)


def engines(path: Path) -> list[str]:
    """The engine nodes of a SavedModel, wherever they are."""
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    graph_def = parse_saved_model(str(path)).meta_graphs[0].graph_def
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return sorted(n.name for n in nodes if n.op == "TRTEngineOp")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def optimised(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return optimise(everything).save(tmp_path_factory.mktemp("optimised") / "model")


# -- SavedModels of TensorFlow 2 -----------------------------------------------------------------------------------------


def test_a_saved_model_keeps_every_signature_and_every_function(everything: Path, optimised: Path) -> None:
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(optimised))
    assert set(after.signatures) == {"serving_default", "embed"}
    x, words = tf.constant(images()), tf.constant(WORDS)
    for _ in range(2):  # the counter counts on
        equal(
            after.signatures["serving_default"](x=x, words=words),
            before.signatures["serving_default"](x=x, words=words),
        )
    equal(after.signatures["embed"](x), before.signatures["embed"](x))
    equal(after.classify(x, words), before.classify(x, words))
    equal(after.nested({"a": x, "b": [x]}), before.nested({"a": x, "b": [x]}))
    assert int(after.calls) == int(before.calls) == 3
    assert (
        after.signatures["serving_default"].structured_outputs.keys()
        == before.signatures["serving_default"].structured_outputs.keys()
    )


def test_its_engines_run_in_both_signatures_under_names_of_their_own(optimised: Path) -> None:
    assert engines(optimised) == ["TRTEngineOp_000_000", "TRTEngineOp_001_000"]
    tfgraphopt.runtime.reset_counters()
    loaded = tf.saved_model.load(str(optimised))
    loaded.signatures["embed"](tf.constant(images()))
    loaded.signatures["serving_default"](x=tf.constant(images()), words=tf.constant(WORDS))
    assert len(tfgraphopt.runtime.counters()) == 2


def test_assets_variables_and_the_table_are_there_after_the_original_is_gone(everything: Path, tmp_path: Path) -> None:
    result = optimise(everything)
    path = result.save(tmp_path / "out")
    moved = path.rename(tmp_path / "moved")
    assert (moved / "assets" / "words.txt").read_text() == "cat\ndog\nfish\n"
    loaded = tf.saved_model.load(str(moved))
    label = loaded.signatures["serving_default"](x=tf.constant(images()), words=tf.constant(WORDS))["label"]
    np.testing.assert_array_equal(label.numpy(), [b"dog:1", b"bird:3", b"cat:0"])
    assert {v.name.partition(":")[0] for v in (loaded.first, loaded.second, loaded.scale, loaded.calls)} == {
        "first", "second", "scale", "calls",
    }  # fmt: skip


def test_only_variables_that_reach_engines_are_constants(optimised: Path) -> None:
    loaded = tf.saved_model.load(str(optimised))
    call = {"x": tf.constant(images()), "words": tf.constant(WORDS)}
    before = loaded.signatures["serving_default"](**call)
    loaded.scale.assign(5.0)
    loaded.calls.assign(40)
    loaded.first.assign(tf.zeros_like(loaded.first))
    after = loaded.signatures["serving_default"](**call)
    equal(after["scores"], before["scores"])  # baked into the engine
    np.testing.assert_allclose(after["kept"].numpy().astype(float), [15, 20, 15])  # still a variable
    assert int(after["calls"]) == 41


def test_a_saved_model_is_served_by_a_session_too(everything: Path, optimised: Path) -> None:
    """As TensorFlow Serving loads it: by tags, init op and tensor names."""

    def served(path: Path) -> Any:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
            signature = meta.signature_def["serving_default"]
            feeds = {signature.inputs["x"].name: images(), signature.inputs["words"].name: WORDS}
            return session.run({k: t.name for k, t in signature.outputs.items()}, feeds)

    equal(served(optimised), served(everything))


def test_one_signature_may_be_chosen(everything: Path, tmp_path: Path) -> None:
    result = optimise(everything, signatures=["embed"])
    assert list(result.parts) == ["embed"]
    path = result.save(tmp_path / "out")
    assert engines(path) == ["TRTEngineOp_000_000"]
    assert set(tf.saved_model.load(str(path)).signatures) == {"serving_default", "embed"}


def test_a_function_without_signature_is_optimised_by_its_path(everything: Path, tmp_path: Path) -> None:
    path = optimise(everything, signatures=["nested"]).save(tmp_path / "out")
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(path))
    tfgraphopt.runtime.reset_counters()
    equal(after.nested({"a": x, "b": [x]}), before.nested({"a": x, "b": [x]}))
    assert tfgraphopt.runtime.counters()


def test_unknown_signatures_and_tags_list_what_there_is(everything: Path) -> None:
    with pytest.raises(GraphDefError, match=r"no signature 'typo'[\s\S]*serving_default, embed[\s\S]*nested"):
        optimise(everything, signatures=["typo"])
    with pytest.raises(GraphDefError, match=r"no meta graph with tags train[\s\S]*serve"):
        optimise(everything, tags=["train"])


def test_an_optimised_model_is_optimised_again(optimised: Path, tmp_path: Path) -> None:
    with_more = optimise(optimised, signatures=["nested"]).save(tmp_path / "out")
    assert len(engines(with_more)) == 3
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(optimised)), tf.saved_model.load(str(with_more))
    equal(after.nested({"a": x, "b": [x]}), before.nested({"a": x, "b": [x]}))


def test_real_engines_are_built_into_a_saved_model(everything: Path, tmp_path: Path) -> None:
    result = tgo.optimize(everything, max_batch_size=4)
    assert {s.status for p in result.parts.values() for s in p.report.segments.values()} == {"built"}
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(result.save(tmp_path / "out")))
    equal(after.signatures["embed"](x), before.signatures["embed"](x))


# -- Keras and functions -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_net() -> Any:
    return keras_model()


@pytest.mark.parametrize("form", ["object", ".keras", ".h5"])
def test_a_keras_model(form: str, keras_net: Any, tmp_path: Path) -> None:
    model = keras_net
    if form != "object":
        model = tmp_path / f"model{form}"
        keras_net.save(model)
    result = optimise(model)
    x = numbers(2, 16, 16, 3)
    equal(dict(result.function(tf.constant(x))), {k: v.numpy() for k, v in keras_net(x).items()})
    assert result.is_converted


def test_a_function_keeps_nested_arguments_and_results(tmp_path: Path) -> None:
    model = Everything(tmp_path / "words.txt")
    spec = tf.TensorSpec([None, WIDTH], tf.float32)
    concrete = model.nested.get_concrete_function({"a": spec, "b": [spec]})
    x = tf.constant(images())
    result = optimise(model.nested)
    equal(result.function({"a": x, "b": [x]}), model.nested({"a": x, "b": [x]}))
    assert result.is_converted
    assert optimise(concrete).is_converted


def test_a_function_with_a_flat_result_becomes_a_signature(tmp_path: Path) -> None:
    model = Everything(tmp_path / "words.txt")
    path = optimise(model.embed).save(tmp_path / "out")
    loaded = tf.saved_model.load(str(path))
    x = tf.constant(images())
    equal(loaded.signatures["serving_default"](x), model.embed(x))
    assert engines(path) == ["TRTEngineOp_000_000"]


def test_a_function_around_a_frozen_graph_with_a_custom_gradient() -> None:
    """TensorFlow itself refuses to save such a gradient: it holds a tensor of the graph that was frozen."""
    weights = tf.Variable(numbers(WIDTH, WIDTH))
    swish = tf.function(lambda x: tf.nn.silu(tf.matmul(x, weights)))
    traced = swish.get_concrete_function(tf.TensorSpec([None, WIDTH], tf.float32, name="x"))
    frozen = convert_variables_to_constants_v2(traced)
    graph_def = frozen.graph.as_graph_def()
    assert any("_gradient_op_type" in node.attr for node in graph_def.node)
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    pruned = imported.prune("x:0", frozen.outputs[0].name)
    given = tf.function(lambda x: pruned(x), autograph=False).get_concrete_function(tf.TensorSpec([None, WIDTH]))
    result = optimise(given)
    assert result.is_converted
    x = tf.constant(numbers(2, WIDTH))
    equal(result.function(x), swish(x))


def test_a_function_without_a_trace_says_what_to_pass() -> None:
    with pytest.raises(ConfigError, match=r"0|no traces[\s\S]*get_concrete_function"):
        optimise(tf.function(lambda x: tf.nn.relu(x)))


def test_ranges_are_given_by_structured_names() -> None:
    weights = tf.Variable(numbers(WIDTH, WIDTH))

    @tf.function(input_signature=[tf.TensorSpec([None, None, WIDTH], tf.float32, name="sequence")])
    def product(sequence: Any) -> Any:
        return tf.nn.softmax(tf.nn.relu(tf.matmul(sequence, weights)) + 1.0)

    ranges = {"sequence": tgo.ShapeRange((1, 1, WIDTH), (2, 4, WIDTH), (4, 16, WIDTH))}
    result = optimise(product, input_shapes=ranges)
    x = tf.constant(numbers(3, 5, WIDTH))
    equal(result.function(x), product(x))
    with pytest.raises(ConfigError, match="sequence"):
        optimise(product)


def test_loops_and_embeddings_read_their_variables_as_constants(tmp_path: Path) -> None:
    """A Keras LSTM is a loop whose body reads variables; an embedding gathers from a variable."""
    import keras

    inputs = keras.Input((5,), dtype="int32", name="tokens")
    h = keras.layers.Embedding(20, 8)(inputs)
    h = keras.layers.LSTM(8)(h)
    model = keras.Model(
        inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Dense(8, activation="relu")(h))
    )
    result = optimise(model)
    assert result.is_converted
    tokens = np.random.default_rng(0).integers(0, 20, (2, 5)).astype(np.int32)
    (made,) = tf.nest.flatten(result.function(tf.constant(tokens)))
    equal(made, model(tokens))
    assert not [v for v in result.report.verdicts.values() if v.op == "ReadVariableOp"]


def test_every_option_is_a_parameter() -> None:
    options = {f.name for f in attrs.fields(tgo.Config)}
    assert options <= set(inspect.signature(tgo.optimize).parameters)
    given = {"precision": "fp16", "minimum_segment_size": 7, "denied_ops": ["Tanh"], "options": {"max_engines": 1}}
    config = optimise(
        frozen_graph(), outputs=["scores"], config=tgo.Config(strict=True, precision="bf16"), **given
    ).config
    assert (config.precision, config.minimum_segment_size, config.strict) == ("fp16", 7, True)
    assert config.denied_ops == {"Tanh"}


# -- TensorFlow 1 --------------------------------------------------------------------------------------------------------


def run_tf1(path: Path, signature: str, feeds: Mapping[str, Any]) -> Any:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(path))
        found = meta.signature_def[signature]
        fed = {found.inputs[k].name: v for k, v in feeds.items()}
        return session.run({k: t.name for k, t in found.outputs.items()}, fed)


@pytest.mark.parametrize("resource", [True, False])
def test_a_saved_model_of_tensorflow_1(resource: bool, tmp_path: Path) -> None:
    path = save_tf1(tmp_path / "tf1", resource=resource)
    made = optimise(path).save(tmp_path / "out")
    assert engines(made)
    feeds = {"x": images(), "words": WORDS}
    equal(run_tf1(made, "all", feeds), run_tf1(path, "all", feeds))
    equal(run_tf1(made, "serving_default", {"x": images()}), run_tf1(path, "serving_default", {"x": images()}))
    loaded = tf.saved_model.load(str(made))
    equal(loaded.signatures["all"](x=tf.constant(images()), words=tf.constant(WORDS)), run_tf1(path, "all", feeds))


@pytest.mark.parametrize("suffix", ["", ".meta"])
def test_a_checkpoint_with_its_meta_graph(suffix: str, tmp_path: Path) -> None:
    prefix = save_checkpoint(tmp_path)
    result = optimise(Path(f"{prefix}{suffix}"), outputs=["scores", "lengths"])
    made = result.save(tmp_path / "out")
    graph = tf1_graph(resource=True)
    with tf.compat.v1.Session(graph=graph) as session, graph.as_default():
        tf.compat.v1.train.Saver().restore(session, str(prefix))
        expected = session.run({"scores": "scores:0", "lengths": "lengths:0"}, {"x:0": images(), "words:0": WORDS})
    equal(run_tf1(made, "serving_default", {"x": images(), "words": WORDS}), expected)
    assert engines(made)


# -- GraphDefs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["object", ".pb", ".pbtxt"])
def test_a_graph_def_becomes_a_saved_model(form: str, tmp_path: Path) -> None:
    graph_def = frozen_graph()
    model: Any = graph_def
    if form == ".pb":
        model = tmp_path / "model.pb"
        model.write_bytes(graph_def.SerializeToString())
    elif form == ".pbtxt":
        model = tmp_path / "model.pbtxt"
        model.write_text(text_format.MessageToString(graph_def))
    result = optimise(model, outputs=["scores", "hidden:0"])
    path = result.save(tmp_path / "out")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        expected = session.run({"scores": "scores:0", "hidden": "hidden:0"}, {"x:0": images()})
    equal(dict(result.function(tf.constant(images()))), expected)
    equal(run_tf1(path, "serving_default", {"x": images()}), expected)
    assert {n.op for n in result.graph_def.node} >= {"TRTEngineOp"}


def test_what_cannot_be_converted_comes_back_as_it_was(tmp_path: Path) -> None:
    with tf.Graph().as_default() as graph:
        tf.strings.lower(tf.compat.v1.placeholder(tf.string, [None], name="x"), name="y")
    result = optimise(graph.as_graph_def(), outputs=["y"])
    assert result.graph_def == graph.as_graph_def()
    assert not result.is_converted
    made = result.save(tmp_path / "out")
    assert run_tf1(made, "serving_default", {"x": np.array([b"LOUD"])})["y"].tolist() == [b"loud"]


# -- the command line ----------------------------------------------------------------------------------------------------


def test_the_command_line_writes_saved_models_and_graphs(everything: Path, tmp_path: Path) -> None:
    common = ["optimize", str(everything), "--engine", "none", "--max-batch-size", "4", "-o"]
    assert main([*common, str(tmp_path / "all")]) == 0
    assert main([*common, str(tmp_path / "one"), "--signature", "embed"]) == 0
    assert main([*common, str(tmp_path / "one.pb"), "--signature", "embed"]) == 0
    assert [len(engines(tmp_path / name)) for name in ("all", "one")] == [2, 1]
    assert tf.compat.v1.GraphDef.FromString((tmp_path / "one.pb").read_bytes()).library.function
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(tmp_path / "all"))
    equal(after.signatures["embed"](x), before.signatures["embed"](x))


# -- anything else -------------------------------------------------------------------------------------------------------


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(GraphDefError, match=r"a dict is no model[\s\S]*a Keras model"):
        optimise({})
    with pytest.raises(GraphDefError, match="outputs do not go with"):
        optimise(tf.function(lambda x: x), outputs=["y"])


def test_saving_never_replaces_what_is_no_saved_model(tmp_path: Path) -> None:
    result = optimise(frozen_graph(), outputs=["scores"])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "precious.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is no SavedModel"):
        result.save(tmp_path / "notes")
    result.save(tmp_path / "out")
    result.save(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes", "out"]


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfgraphopt.formats import frozen_graph as module

    result = optimise(frozen_graph(), outputs=["scores"])
    path = result.save(tmp_path / "out")
    before = (path / "saved_model.pb").read_bytes()

    def broken(*_: object) -> bytes:
        raise OSError("the disk is full")

    monkeypatch.setattr(module, "serialised", broken)
    with pytest.raises(OSError, match="disk is full"):
        result.save(path)
    assert (path / "saved_model.pb").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
