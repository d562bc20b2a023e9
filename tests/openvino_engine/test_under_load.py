"""Many threads, many calls, and runtimes that are missing or fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_op.fresh import in_fresh_process
from engine_op.leaks import leaked_bytes

import tfgraphopt as tgo
import tfgraphopt.runtime
from openvino_engine.nets import ENGINE, RANGES, Call, assert_close, callers_thread, cnn, images, optimised, session
from tfgraphopt_trt import engine_op

OUTPUTS = ("y", "map")
THREADS = 16


@pytest.fixture(scope="module")
def net() -> tuple[Any, tgo.Result]:
    graph_def = cnn()
    return graph_def, optimised(graph_def, OUTPUTS, input_shapes=RANGES)


@pytest.mark.parametrize("called", [session, callers_thread])
def test_sixteen_threads_with_mixed_shapes(net: tuple[Any, tgo.Result], called: Callable[..., Call]) -> None:
    inside = [(1, 12), (4, 20), (8, 32), (2, 15), (5, 20), (8, 12)]
    outside = [(9, 20), (1, 40)]
    feeds = [images(*shape) for shape in [*inside, *outside]]
    original, ours = session(net[0], ["x"], OUTPUTS), called(net[1].graph_def, ["x"], OUTPUTS)
    expected = [original(feed) for feed in feeds]
    each = 40

    def work(thread: int) -> None:
        for turn in range(each):
            index = (thread + turn) % len(feeds)
            for a, b in zip(expected[index], ours(feeds[index]), strict=True):
                assert_close(a, b)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    count = tfgraphopt.runtime.counters()[ENGINE]
    fallbacks = THREADS * each * len(outside) // len(feeds)
    assert dict(count.fallbacks) == {"shape_outside_profiles": fallbacks}
    assert count.engine_runs == THREADS * each - fallbacks
    assert count.engines_created == 1
    assert count.contexts_created <= 4 * THREADS  # three fixed shapes and the range between them


def test_memory_stays_flat_and_nothing_is_made_anew(net: tuple[Any, tgo.Result]) -> None:
    ours = session(net[1].graph_def, ["x"], OUTPUTS)
    feeds = [images(1, 12), images(4, 20), images(3, 17)]

    def call(turn: int) -> None:
        ours(feeds[turn % 3])

    for turn in range(300):
        call(turn)
    assert leaked_bytes(call, 400) < 256  # what a call returns are thousands of bytes
    count = tfgraphopt.runtime.counters()[ENGINE]
    assert (count.engine_runs, count.engines_created, count.contexts_created) == (2300, 1, 3)


def _with_attributes(result: tgo.Result, **attributes: bytes) -> Any:
    graph_def = type(result.graph_def)()
    graph_def.CopyFrom(result.graph_def)
    node = next(n for n in graph_def.node if n.name == ENGINE)
    for name, value in attributes.items():
        node.attr[name].s = value
    return graph_def


@pytest.mark.parametrize(
    "plan", [b"nonsense", b"tfgraphopt-openvino 1\ninput 1\noutput 1\noutput 1\nxml 3\nweights 0\nend\n<a>"]
)
def test_a_plan_that_is_none_is_refused_and_tensorflow_runs(net: tuple[Any, tgo.Result], plan: bytes) -> None:
    plan += b"\0" * (-len(plan) % 64)
    damaged = _with_attributes(net[1], serialized_segment=plan, plan_digest=hashlib.sha256(plan).hexdigest().encode())
    made = session(damaged, ["x"], OUTPUTS)(images(2))
    for a, b in zip(session(net[0], ["x"], OUTPUTS)(images(2)), made, strict=True):
        np.testing.assert_array_equal(a, b)
    assert dict(tfgraphopt.runtime.counters()[ENGINE].fallbacks) == {"plan_refused": 1}


class _Raising:
    """A runtime that refuses everything."""

    def create_engine(self, plan: bytes, device: engine_op.Device) -> engine_op.Engine:
        raise RuntimeError("out of order")


def test_a_runtime_that_raises_leaves_the_work_to_tensorflow(net: tuple[Any, tgo.Result]) -> None:
    broken = _with_attributes(net[1], runtime=b"out-of-order")
    with engine_op.register_runtime("out-of-order", _Raising()):
        made = session(broken, ["x"], OUTPUTS)(images(2))
    for a, b in zip(session(net[0], ["x"], OUTPUTS)(images(2)), made, strict=True):
        np.testing.assert_array_equal(a, b)
    assert dict(tfgraphopt.runtime.counters()[ENGINE].fallbacks) == {"plan_refused": 1}


def test_without_openvino_the_import_works_and_tensorflow_runs(net: tuple[Any, tgo.Result], tmp_path: Path) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(net[1].graph_def.SerializeToString())
    program = f"""
import numpy as np
import tensorflow as tf
from tfgraphopt_openvino import openvino_api
openvino_api.package = lambda: None
import tfgraphopt.runtime
graph_def = tf.compat.v1.GraphDef.FromString(open({str(path)!r}, "rb").read())
with tf.Graph().as_default() as graph:
    tf.graph_util.import_graph_def(graph_def, name="")
with tf.compat.v1.Session(graph=graph) as session:
    session.run("y:0", {{"x:0": np.ones((2, 20, 20, 3), np.float32)}})
print(dict(tfgraphopt.runtime.counters()[{ENGINE!r}].fallbacks))
"""
    assert in_fresh_process(program).strip().endswith("{'no_runtime': 1}")
