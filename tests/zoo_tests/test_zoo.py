"""The zoo: graphs are frozen and stable, inputs realistic, outputs depend on them, pretrained networks do their job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

from zoo import cache, detect, inspection, keras_models, pretrained
from zoo.feeds import FEEDS, melody
from zoo.frozen import FrozenModel, Input, freeze, load

SMALL = ("MobileNetV2", *pretrained.NAMES)
VARIABLE_OPS = {"VarHandleOp", "ReadVariableOp", "VariableV2", "Variable", "PartitionedCall", "StatefulPartitionedCall"}


def small(name: str) -> FrozenModel:
    return pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)


@pytest.mark.parametrize("name", SMALL)
def test_graph_has_its_interface_and_no_variables(name: str) -> None:
    model = small(name)
    nodes = {node.name: node for node in model.graph_def.node}
    placeholders = {node.name for node in model.graph_def.node if node.op == "Placeholder"}
    assert placeholders == {node.name for node in model.inputs}
    assert set(model.outputs) <= set(nodes)
    assert not VARIABLE_OPS & set(inspection.op_counts(model.graph_def))
    for node in model.inputs:
        stored = [None if size.size < 0 else size.size for size in nodes[node.name].attr["shape"].shape.dim]
        assert tuple(stored) == node.shape
        assert node.shape[0] is None


@pytest.mark.parametrize("name", SMALL)
def test_outputs_are_finite_and_depend_on_the_input(name: str) -> None:
    model = small(name)
    for batch in (1, 3):
        for result in model.run(model.feeds(batch, seed=batch)):
            assert result.shape[0] == batch
            assert np.isfinite(result).all()
    first, second = model.run(model.feeds(1, seed=1))[0], model.run(model.feeds(1, seed=2))[0]
    assert np.abs(first - second).max() > 1e-3


def test_classifier_is_not_saturated() -> None:
    model = keras_models.build("MobileNetV2")
    (probabilities,) = model.run(model.feeds(4))
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-5)
    assert probabilities.max() < 0.99
    assert np.log(probabilities).std(axis=0).mean() > 0.3


def test_no_vector_is_left_at_keras_start_value() -> None:
    """Keras starts gammas and variances at one, betas, means and biases at zero: constants that fold away."""
    graph_def = keras_models.build("MobileNetV2").graph_def
    vectors = [tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const"]
    vectors = [vector for vector in vectors if vector.dtype == np.float32 and vector.size >= 16]
    assert not any((vector == vector.flat[0]).all() for vector in vectors)


@pytest.mark.slow
def test_build_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = keras_models.build("MobileNetV2").graph_def
    monkeypatch.setenv("TFGRAPHOPT_TEST_CACHE", str(tmp_path))
    again = keras_models.build("MobileNetV2").graph_def
    assert again.SerializeToString(deterministic=True) == kept.SerializeToString(deterministic=True)
    assert [path.name for path in tmp_path.iterdir()] == [cache.entry("MobileNetV2", 0).name]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="ResNet51"):
        keras_models.build("ResNet51")
    with pytest.raises(KeyError, match="QNet"):
        pretrained.build("QNet")


def test_every_architecture_of_keras_is_known() -> None:
    exported = {name for name in dir(tf.keras.applications) if name[0].isupper()}
    assert set(keras_models.NAMES) == exported
    assert len(keras_models.NAMES) == len(exported)


def test_freezing_a_function_keeps_its_meaning() -> None:
    weights = tf.Variable(tf.constant([[1.0, 2.0], [3.0, 4.0]]))
    model = freeze(
        lambda x, y: (x @ weights, x + y),
        "two",
        inputs=(Input("x", "float32", (None, 2)), Input("y", "float32", (None, 1))),
        outputs=("product", "sum"),
    )
    x, y = np.array([[1.0, 1.0], [2.0, 0.0]], np.float32), np.array([[5.0], [6.0]], np.float32)
    product, total = model.run({"x": x, "y": y})
    np.testing.assert_array_equal(product, [[4.0, 6.0], [2.0, 4.0]])
    np.testing.assert_array_equal(total, [[6.0, 6.0], [8.0, 6.0]])


def test_freezing_a_keras_model_equals_the_model() -> None:
    layers = tf.keras.layers
    keras_model = tf.keras.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    model = freeze(keras_model, "small")
    feeds = model.feeds(2)
    np.testing.assert_allclose(model.run(feeds)[0], keras_model(feeds["input"]), rtol=1e-5, atol=1e-6)


def test_store_and_load_give_the_same_model(tmp_path: Path) -> None:
    model = pretrained.build("RNet")
    cache.store(model, tmp_path / "entry")
    cache.store(attrs.evolve(model, name="late"), tmp_path / "entry")
    read = load(tmp_path / "entry")
    assert read.graph_def == model.graph_def
    assert attrs.astuple(attrs.evolve(read, graph_def=None)) == attrs.astuple(attrs.evolve(model, graph_def=None))
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


@pytest.mark.parametrize(("kind", "low", "high"), [("image", 0.0, 255.0), ("image_signed", -1.0, 1.0)])
def test_images_are_smooth_and_in_range(kind: str, low: float, high: float) -> None:
    pictures = FEEDS[kind]((2, 96, 128, 3), np.random.default_rng(5))
    assert pictures.min() >= low
    assert pictures.max() <= high
    assert np.abs(np.diff(pictures, axis=2)).mean() < 0.2 * pictures.std()
    np.testing.assert_array_equal(pictures, FEEDS[kind]((2, 96, 128, 3), np.random.default_rng(5)))


def test_melody_is_tonal_audio() -> None:
    audio = melody(43_844, np.random.default_rng(1))
    assert audio.dtype == np.float32
    assert np.abs(audio).max() == pytest.approx(0.8, rel=1e-4)
    spectrum = np.abs(np.fft.rfft(audio)) ** 2
    assert np.sort(spectrum)[-200:].sum() > 0.8 * spectrum.sum()


@pytest.fixture(scope="module")
def faces() -> detect.Detections:
    networks = [pretrained.build(name).runner() for name in pretrained.MTCNN]
    return detect.detect(detect.astronaut(), *networks)


def test_mtcnn_finds_the_astronauts_face_as_the_package_does(faces: detect.Detections) -> None:
    from mtcnn import MTCNN

    expected = MTCNN().detect_faces(detect.astronaut(), output_type="numpy", box_format="xyxy")
    assert faces.boxes.shape == (1, 4)
    np.testing.assert_allclose(faces.boxes, expected[:, 1:5], atol=0.05)
    np.testing.assert_allclose(faces.scores, expected[:, 5], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks[:, :, 0], expected[:, 6:11], atol=0.05)
    left, top, right, bottom = faces.boxes[0]
    assert ((faces.landmarks[0] > (left, top)) & (faces.landmarks[0] < (right, bottom))).all()


def test_same_faces_tells_a_moved_box(faces: detect.Detections) -> None:
    assert detect.same_faces(faces, faces)
    assert not detect.same_faces(faces, attrs.evolve(faces, boxes=faces.boxes + 1.0))
    assert not detect.same_faces(faces, detect.Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))))


def test_no_face_in_an_empty_picture() -> None:
    networks = [pretrained.build(name).runner() for name in pretrained.MTCNN]
    assert detect.detect(np.zeros((64, 64, 3), np.uint8), *networks).boxes.shape == (0, 4)


def test_basic_pitch_equals_its_saved_model() -> None:
    model, v1 = pretrained.build(pretrained.BASIC_PITCH), tf.compat.v1
    feeds = model.feeds(2)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signature = v1.saved_model.load(session, ["serve"], str(pretrained.basic_pitch_saved_model()))
        outputs = signature.signature_def["serving_default"].outputs
        expected = session.run(
            [outputs[name].name for name in model.outputs], {"serving_default_input_2:0": feeds["audio"]}
        )
    for result, reference in zip(model.run(feeds), expected, strict=True):
        np.testing.assert_allclose(result, reference, atol=1e-5)


def test_basic_pitch_hears_the_note_that_sounds() -> None:
    """A4 with seven partials: the loudest of the 88 piano keys (A0 = 27.5 Hz first) is the 49th."""
    time = np.arange(43_844) / 22_050
    tone = sum(np.sin(2.0 * np.pi * 440.0 * partial * time) / partial**1.5 for partial in range(1, 8))
    audio = (0.3 * np.asarray(tone)).astype(np.float32)[None, :, None]
    note = pretrained.build(pretrained.BASIC_PITCH).run({"audio": audio})[1]
    assert int(note[0].mean(axis=0).argmax()) == 48


def zoo_command(*words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "zoo", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
def test_command_freezes_and_inspects(tmp_path: Path) -> None:
    target = tmp_path / "out.pb"
    zoo_command("freeze", "RNet", "-o", str(target))
    assert tf.compat.v1.GraphDef.FromString(target.read_bytes()) == pretrained.build("RNet").graph_def
    assert [path.name for path in tmp_path.iterdir()] == ["out.pb"]
    shown = zoo_command("inspect", "RNet")
    assert f"{len(pretrained.build('RNet').graph_def.node)} nodes" in shown
    assert "Conv2D 3" in shown
