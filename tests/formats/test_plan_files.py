"""Engines of saved models are assets: they run from wherever the model lies, after moves and after being saved again.

OpenVINO's engines are used, because they run here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from formats.models import WIDTH, frozen_graph, images, numbers, save_everything, save_tf1
from formats.test_formats import WORDS, equal, run_tf1

import tfgraphopt as tgo
import tfgraphopt.runtime


@pytest.fixture(autouse=True)
def engines_only() -> Iterator[None]:
    """Every test here runs engines, and nothing but engines."""
    tfgraphopt.runtime.reset_counters()
    yield
    counts = tfgraphopt.runtime.counters().values()
    assert sum(c.engine_runs for c in counts) > 0
    assert sum(c.fallback_runs for c in counts) == 0, [dict(c.fallbacks) for c in counts]


def optimise(model: Any, **given: Any) -> tgo.Result:
    return tgo.optimize(model, engine="openvino", max_batch_size=4, **given)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def optimised(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return optimise(everything).save(tmp_path_factory.mktemp("optimised") / "model")


def plans(path: Path) -> list[Path]:
    return sorted((path / "assets").glob("*.plan"))


def served(path: Path) -> Any:
    return run_tf1(path, "serving_default", {"x": images(), "words": WORDS})


def test_plans_are_assets_and_not_in_the_graph(everything: Path, optimised: Path) -> None:
    assert len(plans(optimised)) == 2
    assert max(p.stat().st_size for p in plans(optimised)) > (optimised / "saved_model.pb").stat().st_size / 10
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(optimised))
    equal(after.signatures["embed"](tf.constant(images())), before.signatures["embed"](tf.constant(images())))


def test_a_process_that_lacks_the_op_is_told_what_to_do(optimised: Path) -> None:
    import subprocess
    import sys

    code = "import sys, tensorflow as tf\ntf.saved_model.load(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(optimised)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode != 0
    assert "Op type not registered 'T" in done.stderr
    said = (optimised / "assets.extra" / "README.md").read_text()
    assert "Op type not registered 'T" in said
    assert "import tfgraphopt " in said
    tf.saved_model.load(str(optimised)).signatures["embed"](tf.constant(images()))


def test_a_session_finds_them(everything: Path, optimised: Path) -> None:
    equal(served(optimised), served(everything))


def test_a_moved_model_finds_them(everything: Path, optimised: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(optimised, tmp_path / "copy")).rename(tmp_path / "moved")
    equal(served(moved), served(everything))


def test_a_model_that_is_saved_again_by_tensorflow_takes_them_along(
    everything: Path, optimised: Path, tmp_path: Path
) -> None:
    loaded = tf.saved_model.load(str(optimised))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=dict(loaded.signatures))
    assert len(plans(tmp_path / "again")) == 2
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(tmp_path / "again"))
    equal(after.signatures["embed"](x), before.signatures["embed"](x))


def test_a_model_that_is_optimised_again_keeps_them(everything: Path, optimised: Path, tmp_path: Path) -> None:
    path = optimise(optimised, signatures=["nested"]).save(tmp_path / "out")
    assert len(plans(path)) == 3
    x = tf.constant(images())
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(path))
    equal(after.nested({"a": x, "b": [x]}), before.nested({"a": x, "b": [x]}))
    equal(after.signatures["embed"](x), before.signatures["embed"](x))


def test_a_model_of_tensorflow_1_has_them_too(tmp_path: Path) -> None:
    path = save_tf1(tmp_path / "tf1", resource=True)
    made = optimise(path).save(tmp_path / "out")
    assert plans(made)
    feeds = {"x": images(), "words": WORDS}
    equal(run_tf1(made, "all", feeds), run_tf1(path, "all", feeds))
    loaded = tf.saved_model.load(str(made))
    equal(
        loaded.signatures["serving_default"](tf.constant(images())), run_tf1(path, "serving_default", {"x": images()})
    )


def test_a_function_holds_its_directory(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(frozen_graph(), name="")
        expected = session.run({"scores": "scores:0"}, {"x:0": images()})
    equal(dict(optimise(frozen_graph(), outputs=["scores"]).function(tf.constant(images()))), expected)


def test_plans_that_were_too_large_for_the_graph_come_along(tmp_path: Path) -> None:
    result = optimise(frozen_graph(), outputs=["scores"], max_embedded_bytes=0, engine_dir=tmp_path / "engines")
    assert list((tmp_path / "engines").iterdir())
    path = result.save(tmp_path / "out")
    shutil.rmtree(tmp_path / "engines")
    assert run_tf1(path, "serving_default", {"x": images()})["scores"].shape == (3, 8)


@pytest.mark.parametrize("engine", ["openvino", "none"])
def test_weights_that_are_too_large_for_a_graph_are_read_from_the_variables(
    engine: str, everything: Path, optimised: Path, tmp_path: Path
) -> None:
    """With the limit at 0 bytes. The bodies of nodes without a plan run, with those weights."""
    path = tgo.optimize(everything, engine=engine, max_batch_size=4, max_embedded_bytes=0).save(tmp_path / "out")
    weights = numbers(WIDTH, WIDTH).tobytes()
    assert weights in (optimised / "saved_model.pb").read_bytes()
    assert weights not in (path / "saved_model.pb").read_bytes()
    before, after = tf.saved_model.load(str(everything)), tf.saved_model.load(str(path))
    x, words = tf.constant(images()), tf.constant(WORDS)
    equal(after.signatures["embed"](x), before.signatures["embed"](x))
    equal(after.signatures["serving_default"](x=x, words=words), before.signatures["serving_default"](x=x, words=words))
    equal(served(path), served(everything))
    if engine == "none":
        tfgraphopt.runtime.reset_counters()
        equal(tf.saved_model.load(str(optimised)).signatures["embed"](x), before.signatures["embed"](x))


def test_a_fresh_process_runs_them(everything: Path, optimised: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, tensorflow as tf, tfgraphopt.runtime as runtime\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "loaded.signatures['embed'](tf.ones([2, 8]))\n"
        "(count,) = runtime.counters().values()\n"
        "print(count.engine_runs, count.fallback_runs)\n"
    )
    command = [sys.executable, "-c", code, str(optimised)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["1", "0"], done.stderr
    tf.saved_model.load(str(optimised)).signatures["embed"](tf.constant(images()))
