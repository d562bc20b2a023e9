"""Saved models on a GPU, loaded in processes of their own: by TensorFlow alone with XLA, after `import tfgraphopt` with engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from engine_op.fresh import in_fresh_process
from gpu.graphs import chain
from xla_engine.nets import BATCHES, assert_close, cnn, images, in_session

import tfgraphopt as tgo

pytestmark = pytest.mark.gpu
OUTPUTS = ("y", "map")
TOLERANCES = {"fp32": 1e-3, "fp16": 1e-2}  # TensorFlow's own convolutions are TF32's here


def _save(graph_def: object, outputs: tuple[str, ...], path: Path) -> Path:
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    module = tf.Module()
    module.f = wrapped.prune({"x": "x:0"}, {name: f"{name}:0" for name in outputs})
    tf.saved_model.save(module, str(path), signatures=module.f)
    return path


BY_TENSORFLOW_ALONE = """
import sys
import numpy as np
import tensorflow as tf
function = tf.saved_model.load({model!r}).signatures["serving_default"]
feeds = np.load({feeds!r})
found = {{}}
for key in feeds:
    made = function(x=tf.constant(feeds[key]))
    assert all("GPU" in t.device for t in made.values())
    found.update({{key + "/" + name: t.numpy() for name, t in made.items()}})
assert not any(name.startswith("tfgraphopt") for name in sys.modules)
np.savez({results!r}, **found)
"""


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("ranged", [True, False])
def test_xla_engines_of_a_saved_model(tmp_path: Path, precision: str, ranged: bool) -> None:
    """Padded to buckets, and compiled as a whole for every batch size."""
    original = cnn()
    shapes = {"input_shapes": BATCHES} if ranged else {}
    result = tgo.optimize(
        _save(original, OUTPUTS, tmp_path / "original"), engine="xla", precision=precision, minimum_segment_size=1,
        strict=True, **shapes,
    )  # fmt: skip
    feeds = {str(n): images(n) for n in (1, 3, 8, 9)}
    np.savez(tmp_path / "feeds.npz", **feeds)
    saved = result.save(tmp_path / "made")
    program = BY_TENSORFLOW_ALONE.format(
        model=str(saved), feeds=str(tmp_path / "feeds.npz"), results=str(tmp_path / "results.npz")
    )
    in_fresh_process(program)
    results = np.load(tmp_path / "results.npz")
    for key, x in feeds.items():
        for name, expected in zip(OUTPUTS, in_session(original, {"x": x}, OUTPUTS), strict=True):
            assert_close(results[f"{key}/{name}"], expected, TOLERANCES[precision])


AFTER_IMPORT = """
import tensorflow as tf
import tfgraphopt
from tfgraphopt_trt import engine_op as eo
with eo.register_native_runtime("cuda", {library!r}, "cuda_runtime"):
    function = tf.saved_model.load({model!r}).signatures["serving_default"]
    y = function(x=tf.ones((2, 3)))["y"]
    print("MADE", float(tf.reduce_sum(y)), "ON", tf.DeviceSpec.from_string(y.device).device_type)
print("RUNS", sum(c.engine_runs for c in eo.counters().values()))
"""


def test_an_engine_of_a_saved_model(tmp_path: Path, library: Path) -> None:
    graph_def = chain(2, runtime="cuda", serialized_segment=b"scale=3 batch=1-4", strict=True)
    saved = _save(graph_def, ("y",), tmp_path / "engines")
    printed = in_fresh_process(AFTER_IMPORT.format(library=str(library), model=str(saved)))
    assert "MADE 54.0 ON GPU" in printed
    assert "RUNS 2" in printed
