"""A model with engines that is optimised again: what it does not need any more is gone, what is left works."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from formats.models import frozen_graph, images, save_everything, save_tf1
from formats.test_formats import WORDS, equal, run_tf1

import tfgraphopt as tgo
from tfgraphopt.formats.plan_files import NOTE
from tfgraphopt.formats.saved_model import read_saved_model


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def optimised(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return optimise(everything, "openvino").save(tmp_path_factory.mktemp("optimised") / "model")


def optimise(model: Path, engine: str, **given: Any) -> tgo.Result:
    return tgo.optimize(model, engine=engine, max_batch_size=4, **given)


def plans(path: Path) -> int:
    return len(list((path / "assets").glob("*.plan")))


def our_ops(path: Path) -> set[str]:
    (meta,) = read_saved_model(path).meta_graphs
    nodes = [*meta.graph_def.node, *(n for f in meta.graph_def.library.function for n in f.node_def)]
    return {n.op for n in nodes if n.op.startswith(("Tfgraphopt", "TRT"))}


def same(path: Path, original: Path) -> None:
    before, after = tf.saved_model.load(str(original)), tf.saved_model.load(str(path))
    x, words = tf.constant(images()), tf.constant(WORDS)
    equal(after.signatures["embed"](x), before.signatures["embed"](x))
    equal(after.signatures["serving_default"](x=x, words=words), before.signatures["serving_default"](x=x, words=words))
    feeds = {"x": images(), "words": WORDS}
    equal(run_tf1(path, "serving_default", feeds), run_tf1(original, "serving_default", feeds))


def test_without_engines_it_needs_nothing_of_ours(everything: Path, optimised: Path, tmp_path: Path) -> None:
    path = optimise(optimised, "xla", options={"rebuild": True}).save(tmp_path / "out")
    assert our_ops(optimised) >= {"TfgraphoptEngineOp", "TfgraphoptRegisterPlans"}
    assert (our_ops(path), plans(path), (path / NOTE).exists()) == (set(), 0, False)
    assert (path / "assets" / "words.txt").exists()
    same(path, everything)


def test_some_engines_stay(everything: Path, optimised: Path, tmp_path: Path) -> None:
    path = optimise(optimised, "xla", signatures=["embed"], options={"rebuild": True}).save(tmp_path / "out")
    assert (plans(optimised), plans(path), (path / NOTE).exists()) == (2, 1, True)
    same(path, everything)


def test_again_and_again(everything: Path, optimised: Path, tmp_path: Path) -> None:
    """The same engines: the model does not grow."""
    path = optimised
    for name in "ab":
        path = optimise(path, "openvino", options={"rebuild": True}).save(tmp_path / name)
    (first,), (last,) = read_saved_model(optimised).meta_graphs, read_saved_model(path).meta_graphs
    assert len(last.object_graph_def.nodes) == len(first.object_graph_def.nodes)
    assert [a.filename for a in last.asset_file_def] == [a.filename for a in first.asset_file_def]
    same(path, everything)


def test_a_model_of_a_graph(tmp_path: Path) -> None:
    """Of TensorFlow 1, without objects."""
    made = tgo.optimize(frozen_graph(), outputs=["scores"], engine="openvino", max_batch_size=4).save(tmp_path / "made")
    again = optimise(made, "xla", options={"rebuild": True}).save(tmp_path / "xla")
    assert (plans(made), our_ops(again), plans(again), (again / NOTE).exists()) == (1, set(), 0, False)
    (meta,) = read_saved_model(again).meta_graphs
    assert not meta.collection_def
    feeds = {"x": images()}
    equal(run_tf1(again, "serving_default", feeds), run_tf1(made, "serving_default", feeds))


def test_an_engine_that_an_op_of_the_model_needs_stays(tmp_path: Path) -> None:
    """Here the training op, which no signature has."""
    path = save_tf1(tmp_path / "tf1", resource=True)
    made = optimise(path, "openvino").save(tmp_path / "openvino")
    again = optimise(made, "xla", options={"rebuild": True}).save(tmp_path / "xla")
    assert (plans(made), plans(again), (again / NOTE).exists()) == (1, 1, True)
    feeds = {"x": images(), "words": WORDS}
    equal(run_tf1(again, "all", feeds), run_tf1(path, "all", feeds))


def test_what_tensorflow_has_saved_since_is_left_alone(everything: Path, optimised: Path, tmp_path: Path) -> None:
    """Its registration is TensorFlow's own then: it stays, needed or not."""
    loaded = tf.saved_model.load(str(optimised))
    tf.saved_model.save(loaded, str(tmp_path / "resaved"), signatures=dict(loaded.signatures))
    path = optimise(tmp_path / "resaved", "xla", options={"rebuild": True}).save(tmp_path / "out")
    assert (plans(path), (path / NOTE).exists()) == (2, True)
    same(path, everything)


def test_somebody_elses_readme_stays(everything: Path, tmp_path: Path) -> None:
    original = Path(shutil.copytree(everything, tmp_path / "original"))
    (original / NOTE).parent.mkdir(exist_ok=True)
    (original / NOTE).write_text("# Ours\n")
    path = optimise(original, "xla").save(tmp_path / "out")
    assert (path / NOTE).read_text() == "# Ours\n"
