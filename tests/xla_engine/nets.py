"""Small networks and what the tests do with them: optimise for XLA, run in a session or in a fresh process with nothing but TensorFlow."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import tensorflow as tf

import tfgraphopt as tgo
from tfgraphopt import plugins

Array = np.ndarray[Any, Any]
ENGINE = "XlaEngine_000_000"
BATCHES = {"x": tgo.ShapeRange((1, 12, 12, 3), (4, 12, 12, 3), (8, 12, 12, 3))}


def cnn(seed: int = 0) -> Any:
    """Strided, grouped, padded and dilated windows, a residual, a head: ``x`` f32[?,12,12,3] -> ``y`` f32[?,5], ``map`` f32[?,6,6,8]."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return np.asarray(rng.normal(size=shape, scale=0.3), np.float32)

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 12, 12, 3], name="x")
        h = tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]]), normal(3, 3, 3, 8), 2, "VALID")
        h = tf.nn.relu(tf.nn.bias_add(h, normal(8)) * normal(8) + normal(8))
        h = h + tf.nn.relu6(tf.nn.depthwise_conv2d(h, normal(3, 3, 8, 1), [1, 1, 1, 1], "SAME"))
        h = h + tf.nn.conv2d(h, normal(3, 3, 8, 8), 1, "SAME", dilations=2)
        h = tf.nn.max_pool2d(h, 3, 1, "SAME") - tf.nn.avg_pool2d(h, 3, 1, "SAME")
        tf.identity(h[:, :6, :6], name="map")
        h = tf.reduce_mean(h, [1, 2])
        tf.nn.softmax(tf.nn.bias_add(tf.matmul(h, normal(8, 5)), normal(5)), name="y")
    return graph.as_graph_def()


def images(batch: int, seed: int = 0) -> Array:
    """Random images for :func:`cnn`."""
    return np.asarray(np.random.default_rng([seed, batch]).normal(size=(batch, 12, 12, 3)), np.float32)


def optimised(
    graph_def: Any, outputs: Sequence[str], tables: plugins.Tables | None = None, **options: Any
) -> tgo.Result:
    """The graph with XLA engines; every plugin must load."""
    config = tgo.Config(**{"engine": "xla", "minimum_segment_size": 1, **options})
    return tgo.optimize_graph_def(graph_def, outputs, config, tables=tables or plugins.load(strict=True))


def in_session(graph_def: Any, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
    """The outputs, computed by a TF1 session."""
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        found: list[Array] = session.run([f"{o}:0" for o in outputs], {f"{n}:0": a for n, a in feeds.items()})
    return found


def assert_close(made: Array, expected: Array, tolerance: float = 1e-5) -> None:
    """Equal type and shape, and elements within ``tolerance`` of the largest magnitude."""
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    limit = tolerance * max(float(np.abs(expected).max(initial=0.0)), 1e-30)
    assert float(np.abs(made.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)) <= limit


# -- a process of its own --------------------------------------------------------------------------------------------

_PROGRAM = """
import sys
import numpy as np
import tensorflow as tf
graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
feeds = np.load(sys.argv[2])
outputs = sys.argv[4].split(",")
wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
function = wrapped.prune(["x:0"], [o + ":0" for o in outputs])
found = {f"{key}/{o}": t.numpy() for key in feeds for o, t in zip(outputs, function(tf.constant(feeds[key])))}
assert not any(name.startswith("tfgraphopt") for name in sys.modules)
np.savez(sys.argv[3], **found)
"""


@attrs.frozen
class Ran:
    """What a fresh process computed, by the name of the feed and of the output, and the programs that XLA was given."""

    results: Mapping[str, Array]
    programs: tuple[str, ...]

    def counted(self, *ops: str) -> list[tuple[int, ...]]:
        """How many of these HLO instructions with results of four dimensions each program has."""
        image = r"= \w+\[\d+,\d+,\d+,\d+\]\S*"
        return [tuple(len(re.findall(rf"{image} {op}\(", p)) for op in ops) for p in self.programs]

    def batches(self) -> list[int]:
        """The size of the first axis of the first parameter of each program."""
        entries = (re.search(r"entry_computation_layout=\{\(\w+\[(\d+)", p) for p in self.programs)
        return sorted(int(found.group(1)) for found in entries if found)


def in_fresh_process(graph_def: Any, feeds: Mapping[str, Array], outputs: Sequence[str], folder: Path) -> Ran:
    """Run a graph of one input ``x`` where nothing of tfgraphopt is imported, and see what XLA compiles."""
    (folder / "graph.pb").write_bytes(graph_def.SerializeToString())
    np.savez(folder / "feeds.npz", **feeds)
    arguments = [str(folder / n) for n in ("graph.pb", "feeds.npz", "results.npz")]
    flags = f"--xla_dump_to={folder / 'hlo'} --xla_dump_hlo_as_text"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments, ",".join(outputs)], env=_environment(flags), capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    texts = [p.read_text() for p in sorted((folder / "hlo").glob("*.before_optimizations.txt"))]
    return Ran(dict(np.load(folder / "results.npz")), tuple(texts))


def _environment(flags: str) -> dict[str, str]:
    import os

    return {**os.environ, "XLA_FLAGS": flags, "TF_CPP_MIN_LOG_LEVEL": "3"}
