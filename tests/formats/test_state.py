"""Parts of a model run by themselves, with the tables and variables of the model: what they compute is what the whole model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from formats.models import WIDTH, images, save_checkpoint, save_everything, save_tf1, save_words, words

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.formats.load import load_model
from tfgraphopt.running import Runner
from tfgraphopt.sessions import open_session
from tfgraphopt.testing.compare import run

TEXT = np.array([b"cat", b"dog", b"bird", b""])


def served(path: Path, signature: str, feeds: dict[str, Any]) -> dict[str, Any]:
    function = tf.saved_model.load(str(path)).signatures[signature]
    return {name: t.numpy() for name, t in function(**{n: tf.constant(a) for n, a in feeds.items()}).items()}


def test_a_signature_with_a_table_from_an_asset_and_a_counter(tmp_path: Path) -> None:
    path = save_everything(tmp_path)
    model, feeds = load_model(path), {"x": images(4), "words": TEXT}
    expected = served(path, "serving_default", feeds)
    (tmp_path / "words.txt").unlink()  # the asset is the model's own file
    with Runner.of(model.graph_def, model.outputs, state=model.state) as runner:
        assert set(runner.inputs) == {"x", "words"}
        first, second = (list(runner(feeds).values()) for _ in range(2))
    names = list(tf.saved_model.load(str(path)).signatures["serving_default"].structured_outputs)
    by_type = {a.dtype.kind + str(a.ndim): a for a in first}
    for name in ("scores", "calls"):
        np.testing.assert_allclose(
            by_type[expected[name].dtype.kind + str(expected[name].ndim)], expected[name], rtol=1e-5
        )
    texts = sorted(tuple(a.tolist()) for a in first if a.dtype == object)
    assert texts == sorted(tuple(expected[n].tolist()) for n in names if expected[n].dtype == object)
    assert [a.item() for a in second if a.ndim == 0] == [2], "calls are counted on within a session"
    again = run(model.graph_def, feeds, model.outputs, model.state)
    assert [a.item() for a in again.values() if a.ndim == 0] == [1], "and anew in another"


@pytest.mark.parametrize("resource", [True, False])
def test_a_graph_of_tensorflow_1(resource: bool, tmp_path: Path) -> None:
    """Variables of both kinds that stay, and a table that an op of the model initialises."""
    path = save_tf1(tmp_path / "model", resource=resource)
    model, feeds = load_model(path, signature="all"), {"x": images(4), "words": TEXT}
    made = run(model.graph_def, feeds, model.outputs, model.state)
    expected = served(path, "all", feeds)
    for name, value in expected.items():
        if value.dtype == object:
            np.testing.assert_array_equal(made[f"{name}:0"], value)
        else:
            np.testing.assert_allclose(made[f"{name}:0"], value, rtol=1e-5)


def test_a_checkpoint_with_its_meta_graph(tmp_path: Path) -> None:
    """Nothing but a collection says there how tables are initialised; the checkpoint is beside."""
    prefix = save_checkpoint(tmp_path)
    model = load_model(prefix.with_name(f"{prefix.name}.meta"), outputs="lengths,labels")
    made = run(model.graph_def, {"words": TEXT}, model.outputs, model.state)
    found = {name.partition(":")[0]: value.tolist() for name, value in made.items()}
    assert found["lengths"] == [b"9.000000", b"9.000000", b"12.000000", b"0.000000"]
    assert found["labels"] == [5, 6, -1, -1]


def test_a_graph_that_needs_nothing_has_no_state(tmp_path: Path) -> None:
    model = load_model(save_everything(tmp_path), signature="embed")
    assert model.state is None
    with open_session(model.graph_def) as session:
        assert session.run(model.outputs[0], {"x:0": images(2)}).shape == (2, WIDTH)


@pytest.mark.parametrize("missing", ["data", "handle"])
def test_what_is_not_there_is_tensorflows_error(tmp_path: Path, missing: str) -> None:
    model = load_model(save_words(tmp_path))
    state = model.state if missing == "data" else None
    with pytest.raises(tf.errors.InvalidArgumentError), open_session(model.graph_def, state) as session:
        session.run(model.outputs[0], {} if missing == "data" else {"words:0": words(2)})


def test_a_model_with_a_vocabulary_is_calibrated_and_quantised(tmp_path: Path) -> None:
    """Text goes in; the ranges are those behind the table, and the engine runs in INT8."""
    path = save_words(tmp_path)
    data = [{"words": words(n)} for n in (8, 16, 8)]
    result = tgo.optimize(
        path, engine="openvino", precision="int8", minimum_segment_size=1, max_batch_size=16, calibration_data=data
    )
    (segment,) = result.report.segments.values()
    assert segment.details["int8"]["int8_layers"] == 3
    tfgraphopt.runtime.reset_counters()
    loaded = tf.saved_model.load(str(result.save(tmp_path / "out"))).signatures["serving_default"]
    for count in (1, 16):
        made = loaded(words=tf.constant(words(count)))["features"].numpy()
        wanted = served(path, "serving_default", {"words": words(count)})["features"]
        assert 0 < np.abs(made - wanted).max() < 0.05 * np.abs(wanted).max()
    (counted,) = tfgraphopt.runtime.counters().values()
    assert (counted.engine_runs, dict(counted.fallbacks)) == (2, {})
