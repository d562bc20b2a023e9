"""Functions that hold nothing but programs of XLA are compiled as a whole, and no others are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt as tgo
from tfgraphopt_xla.tracing import MUST_COMPILE

OPTIONS = {"engine": "xla", "minimum_segment_size": 1, "strict": True}
ROWS = tf.TensorSpec((None, 6), tf.float32, name="x")


class Net(tf.Module):
    """Two dense layers, and a table that only one of the functions reads."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(3)
        self.w = tf.Variable(rng.normal(size=(6, 5)).astype(np.float32))
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [2.0]), 1.0)

    @tf.function(input_signature=[ROWS])
    def plain(self, x: Any) -> Any:
        return {"y": tf.nn.relu(x @ self.w + 1.0)}

    @tf.function(input_signature=[ROWS, tf.TensorSpec((), tf.string, name="key")])
    def looked_up(self, x: Any, key: Any) -> Any:
        return {"y": tf.nn.relu(x @ self.w + 1.0) * self.table.lookup(key)}

    @tf.function(input_signature=[ROWS])
    def needless(self, x: Any) -> Any:
        tf.identity(self.table.resource_handle)
        return {"y": tf.nn.relu(x @ self.w + 1.0)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "net"
    net = Net()
    tf.saved_model.save(net, str(path), {name: getattr(net, name) for name in ("plain", "looked_up", "needless")})
    return path


def _x(rows: int) -> Any:
    return tf.constant(np.random.default_rng(rows).normal(size=(rows, 6)).astype(np.float32))


def _is_whole(function: Any) -> bool:
    return bool(function.function_def.attr[MUST_COMPILE].b)


def _assert_same(made: Any, expected: Any) -> None:
    np.testing.assert_allclose(made["y"].numpy(), expected["y"].numpy(), rtol=1e-5, atol=1e-5)


def test_a_function_that_is_one_program_is_compiled_whole(saved: Path, tmp_path: Path) -> None:
    original = tf.saved_model.load(str(saved)).signatures["plain"]
    result = tgo.optimize(saved, signatures=["plain"], **OPTIONS)
    loaded = tf.saved_model.load(str(result.save(tmp_path / "out")))
    for function in (result.functions["plain"], loaded.signatures["plain"]):
        assert _is_whole(function)
        for rows in (0, 1, 3):
            _assert_same(function(x=_x(rows)), original(x=_x(rows)))
    _assert_same(loaded.plain(_x(2)), original(x=_x(2)))


def test_padded_batches_are_brought_to_size_outside(saved: Path) -> None:
    function = tgo.optimize(saved, signatures=["plain"], max_batch_size=4, **OPTIONS).functions["plain"]
    assert not _is_whole(function)
    _assert_same(function(x=_x(3)), tf.saved_model.load(str(saved)).signatures["plain"](x=_x(3)))


def test_what_reads_a_table_is_not(saved: Path) -> None:
    original = tf.saved_model.load(str(saved))
    result = tgo.optimize(saved, signatures=["looked_up", "needless"], **OPTIONS)
    assert not _is_whole(result.functions["looked_up"])
    _assert_same(
        result.functions["looked_up"](x=_x(2), key=tf.constant("a")),
        original.signatures["looked_up"](x=_x(2), key=tf.constant("a")),
    )
    assert not _is_whole(result.functions["needless"])  # its signature still has the table
    _assert_same(result.functions["needless"](x=_x(2)), original.signatures["needless"](x=_x(2)))


NO_COMPILER = """
import sys
import numpy as np
import tensorflow as tf
import tfgraphopt as tgo
result = tgo.optimize(sys.argv[1], signatures=["plain"], engine="xla", minimum_segment_size=1, strict=True)
print("SUM", float(tf.reduce_sum(result.functions["plain"](x=tf.ones((2, 6)))["y"])))
"""


def test_no_compiler_is_needed(saved: Path, tmp_path: Path) -> None:
    """TensorFlow has all the ops; that those of other engines cannot be compiled is a line in the log."""
    environment = {**os.environ, "CXX": "none", "TFGRAPHOPT_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NO_COMPILER, str(saved)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    expected = tf.saved_model.load(str(saved)).signatures["plain"](x=tf.ones((2, 6)))["y"]
    assert float(done.stdout.split()[-1]) == pytest.approx(float(tf.reduce_sum(expected)), rel=1e-5)
    assert "no C++ compiler was found" in done.stderr
