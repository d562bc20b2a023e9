"""The engine op on a GPU: TensorFlow's stream and memory, asynchronous, concurrent, falling back to the same bits."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from engine_op.fresh import in_fresh_process
from engine_op.graphs import ENGINE, behind_engine, cnn, run, session
from gpu.graphs import chain, on_devices, tiled, with_shape
from gpu.runtimes import CudaRuntime, IdleRuntime, PyCudaRuntime

from tfgraphopt_trt import engine_op as eo

pytestmark = pytest.mark.gpu
PLAN = b"scale=3 batch=1-4 batch=2-2 batch=8-16"  # the engine triples, the body doubles: so one sees which ran


def _x(batch: int, width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("scratch", [b"", b" scratch=4096"])
def test_an_engine_computes_on_tensorflows_memory(cuda: CudaRuntime, batch: int, scratch: bytes) -> None:
    graph_def = chain(1, runtime="cuda", serialized_segment=PLAN + scratch, strict=True)
    np.testing.assert_array_equal(run(graph_def, _x(batch)), _x(batch) * np.float32(3))
    assert eo.counters() == {ENGINE: eo.EngineCounters(engine_runs=1, engines_created=1, contexts_created=1)}
    (call,) = cuda.take_log()
    assert call.stream != 0


def test_a_tensor_without_elements_runs_too(cuda: CudaRuntime) -> None:
    graph_def = chain(1, runtime="cuda", serialized_segment=b"scale=3 batch=0-4", strict=True)
    assert run(graph_def, _x(0)).shape == (0, 3)


@pytest.mark.parametrize("batch", [5, 17])
def test_outside_every_profile_the_body_runs_on_the_gpu(cuda: CudaRuntime, batch: int) -> None:
    np.testing.assert_array_equal(run(chain(1, runtime="cuda", serialized_segment=PLAN), _x(batch)), _x(batch) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"shape_outside_profiles": 1}


def test_the_body_gives_the_bits_of_the_original_on_the_gpu() -> None:
    original = cnn()
    x = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(run(behind_engine(original, ["x"], ["y"], device="/GPU:0"), x), run(original, x))
    assert eo.counters()[ENGINE].fallbacks == {"no_plan": 1}


def test_a_plan_for_something_else_is_refused_and_the_body_runs(cuda: CudaRuntime) -> None:
    np.testing.assert_array_equal(run(chain(1, runtime="cuda", serialized_segment=b"nonsense"), _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"plan_refused": 1}


@pytest.mark.parametrize("copies", [1, 3, 5])
def test_a_shape_input_is_in_host_memory_by_registration(cuda: CudaRuntime, copies: int) -> None:
    with session(tiled(runtime="cuda", serialized_segment=b"scale=3 batch=1-4 tile=1", strict=True)) as s:
        y = s.run("y:0", {"x:0": _x(2), "n:0": np.array([copies], np.int32)})
    np.testing.assert_array_equal(y, np.repeat(_x(2)[None] * np.float32(3), copies, axis=0))


def test_a_shape_input_on_the_device_is_a_reason_to_fall_back(cuda: CudaRuntime) -> None:
    with session(tiled(host=False, runtime="cuda", serialized_segment=b"scale=3 batch=1-4 tile=1")) as s:
        y = s.run("y:0", {"x:0": _x(2), "n:0": np.array([2], np.int32)})
    np.testing.assert_array_equal(y, np.repeat(_x(2)[None] * 2, 2, axis=0))
    assert eo.counters()[ENGINE].fallbacks == {"signature_mismatch": 1}


def test_a_shape_input_on_the_host_reaches_the_body_too() -> None:
    with session(tiled()) as s:
        y = s.run("y:0", {"x:0": _x(2), "n:0": np.array([2], np.int32)})
    np.testing.assert_array_equal(y, np.repeat(_x(2)[None] * 2, 2, axis=0))


def test_a_shape_input_of_a_tensorflow_function(cuda: CudaRuntime) -> None:
    graph_def = tiled(runtime="cuda", serialized_segment=b"scale=3 batch=1-4 tile=1", strict=True)
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    y = whole.prune(["x:0", "n:0"], "y:0")(tf.constant(_x(2)), tf.constant([3], tf.int32))
    np.testing.assert_array_equal(y.numpy(), np.repeat(_x(2)[None] * np.float32(3), 3, axis=0))


@pytest.mark.parametrize("plan", [b"scale=3 batch=1-4 shape=1", b""])
def test_an_output_in_host_memory(cuda: CudaRuntime, plan: bytes) -> None:
    with session(with_shape(runtime="cuda", serialized_segment=plan)) as s:
        y, shape = s.run(["y:0", "shape:0"], {"x:0": _x(2)})
    np.testing.assert_array_equal(y, _x(2) * np.float32(3 if plan else 2))
    assert shape.tolist() == [2, 3]
    assert eo.counters()[ENGINE].fallbacks == ({} if plan else {"no_plan": 1})


def test_an_output_in_the_wrong_memory_is_a_reason_to_fall_back(cuda: CudaRuntime) -> None:
    with session(with_shape(host=False, runtime="cuda", serialized_segment=b"scale=3 batch=1-4 shape=1")) as s:
        y, shape = s.run(["y:0", "shape:0"], {"x:0": _x(2)})
    np.testing.assert_array_equal(y, _x(2) * np.float32(2))
    assert shape.tolist() == [2, 3]
    assert eo.counters()[ENGINE].fallbacks == {"signature_mismatch": 1}


def test_the_body_gives_integers_of_the_device_and_of_the_host() -> None:
    """ArgMax leaves its int32 on the GPU, Shape and the sum of int32 in host memory; the node owes all of them on the GPU."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        n = tf.compat.v1.placeholder(tf.int32, [2], name="n")
        tf.argmax(x, 1, output_type=tf.int32, name="a")
        tf.add(tf.shape(x), n, name="b")
        tf.shape(x, out_type=tf.int64, name="c")
        tf.cast(x, tf.int32, name="d")
    names = ["a", "b", "c", "d"]
    graph_def = behind_engine(graph.as_graph_def(), ["x", "n"], names, device="/GPU:0")
    x = _x(2) * 10
    with session(graph_def) as s:
        a, b, c, d = s.run([f"{name}:0" for name in names], {"x:0": x, "n:0": np.array([5, 7], np.int32)})
    assert a.tolist() == np.argmax(x, axis=1).tolist()
    assert (b.tolist(), c.tolist()) == ([7, 10], [2, 3])
    np.testing.assert_array_equal(d, x.astype(np.int32))
    assert eo.counters()[ENGINE].fallbacks == {"no_plan": 1}


def test_where_the_engine_fails_the_body_runs_in_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    class Failing(IdleRuntime):
        def enqueue(self, call: eo.CallInfo) -> None:
            raise ArithmeticError("out of luck")

    with eo.register_runtime("failing", Failing()):
        graph_def = chain(1, runtime="failing", serialized_segment=b"any")
        np.testing.assert_array_equal(run(graph_def, _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"run_failed": 1}
    assert "ArithmeticError: out of luck" in capfd.readouterr().err


def test_calls_are_put_on_the_stream_without_waiting_for_the_device(cuda: CudaRuntime) -> None:
    """Five engines of 40 ms each: the last is enqueued before the first is done."""
    with session(chain(5, runtime="cuda", serialized_segment=b"scale=3 batch=1-4 spin_us=40000", strict=True)) as s:
        s.run("y:0", {"x:0": _x(2)})
        cuda.take_log()
        y = s.run("y:0", {"x:0": _x(2)})
    factor = np.float32(3)
    np.testing.assert_array_equal(y, _x(2) * factor * factor * factor * factor * factor)
    calls = cuda.take_log()
    assert len(calls) == 5
    assert calls[-1].end - calls[0].start < 40e6


def test_the_steady_state_makes_nothing_new(cuda: CudaRuntime) -> None:
    with session(chain(1, runtime="cuda", serialized_segment=PLAN, strict=True)) as s:
        for _ in range(100):
            s.run("y:0", {"x:0": _x(2)})
    assert eo.counters()[ENGINE] == eo.EngineCounters(engine_runs=100, engines_created=1, contexts_created=1)


def _many_calls(graph_def: tf.compat.v1.GraphDef, factor: float) -> None:
    """200 calls from 8 threads, each with a size and numbers of its own; every result is checked."""
    with session(graph_def) as s:

        def call(i: int) -> None:
            x = _x(1 + i % 16, 4096, seed=i)
            np.testing.assert_array_equal(s.run("y:0", {"x:0": x}), x * np.float32(factor))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(call, range(200)))
    assert eo.counters()[ENGINE].engine_runs == 200
    assert not eo.counters()[ENGINE].fallbacks


def test_200_calls_from_8_threads_of_the_native_runtime(cuda: CudaRuntime) -> None:
    _many_calls(chain(1, runtime="cuda", serialized_segment=b"scale=3 batch=1-16 scratch=0", strict=True), 3)


def test_200_calls_from_8_threads_of_a_pycuda_kernel_on_tensorflows_stream() -> None:
    pytest.importorskip("pycuda", reason="PyCUDA is not installed")
    with eo.register_runtime("pycuda", PyCudaRuntime()):
        _many_calls(chain(1, runtime="pycuda", serialized_segment=b"3", strict=True), 3)


def test_a_tensorflow_function_on_the_gpu_called_by_8_threads(cuda: CudaRuntime) -> None:
    graph_def = chain(2, runtime="cuda", serialized_segment=b"scale=3 batch=1-16 scratch=0", strict=True)
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    function = whole.prune("x:0", "y:0")

    def call(i: int) -> None:
        x = _x(1 + i % 16, 64, seed=i)
        np.testing.assert_array_equal(function(tf.constant(x)).numpy(), x * np.float32(3) * np.float32(3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(80)))


def test_nothing_is_left_behind(cuda: CudaRuntime) -> None:
    before = eo.live_objects()
    with session(chain(1, runtime="cuda", serialized_segment=b"scale=3 batch=1-4 spin_us=20000", strict=True)) as s:
        s.run("y:0", {"x:0": _x(2)})
        s.run(s.graph.get_operation_by_name(ENGINE), {"x:0": _x(2)})  # closing the session finds this one at work
    assert eo.live_objects() == before


TWO_STREAMS = """
import numpy as np
import tensorflow as tf
from engine_op.graphs import ENGINE, session
from gpu.graphs import chain
from gpu.runtimes import CudaRuntime, cuda_library
from tfgraphopt_trt import engine_op as eo

gpu = tf.config.list_physical_devices("GPU")[0]
tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(1024)] * 2)
tf.zeros([1])
eo.load()
library = cuda_library()
runtime = CudaRuntime(library)
with eo.register_native_runtime("cuda", library, "cuda_runtime"):
    x = tf.constant(np.ones((2, 3), np.float32))
    functions = []
    for device in ("/GPU:0", "/GPU:1"):
        graph_def = chain(1, device=device, runtime="cuda", serialized_segment=b"scale=3 batch=1-4 scratch=0", strict=True)
        whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
        functions.append(whole.prune("x:0", "y:0"))
    for _ in range(3):
        for function in functions:
            assert np.all(function(x).numpy() == 3)
    log = runtime.take_log()
    count = eo.counters()[ENGINE]
    print("STREAMS", len({c.stream for c in log}), "GPUS", len({c.ordinal for c in log}), "ENGINES", count.engines_created,
          "CONTEXTS", count.contexts_created, "RUNS", count.engine_runs)
"""


def test_two_streams_of_one_gpu_have_contexts_of_their_own() -> None:
    printed = in_fresh_process(TWO_STREAMS)
    assert re.search(r"STREAMS 2 GPUS 1 ENGINES 1 CONTEXTS 2 RUNS 6", printed), printed


def test_two_gpus_have_engines_of_their_own(cuda: CudaRuntime) -> None:
    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus < 2:
        pytest.skip("this machine has one GPU")
    graph_def = chain(1, runtime="cuda", serialized_segment=b"scale=3 batch=1-16 scratch=0", strict=True)
    for ordinal in (0, 1):
        eo.reset_counters()
        _many_calls(on_devices(graph_def, f"/GPU:{ordinal}"), 3)
        assert {call.ordinal for call in cuda.take_log()} == {ordinal}


def test_one_session_runs_engines_on_two_gpus_at_once(cuda: CudaRuntime) -> None:
    if len(tf.config.list_physical_devices("GPU")) < 2:
        pytest.skip("this machine has one GPU")
    graph_def = chain(2, runtime="cuda", serialized_segment=b"scale=3 batch=1-16 scratch=0", strict=True)
    last = next(n for n in graph_def.node if n.name == f"{ENGINE}_1")
    last.device = "/GPU:1"
    with session(graph_def) as s, ThreadPoolExecutor(8) as pool:

        def call(i: int) -> None:
            x = _x(1 + i % 16, 4096, seed=i)
            np.testing.assert_array_equal(s.run("y:0", {"x:0": x}), x * np.float32(3) * np.float32(3))

        list(pool.map(call, range(200)))
    assert {call.ordinal for call in cuda.take_log()} == {0, 1}
    assert sum(c.engines_created for c in eo.counters().values()) == 2
