"""Engines run: right results, the tightest profile, one engine per plan, a context per concurrent call, no leaks."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from engine_op.fresh import in_fresh_process
from engine_op.graphs import ENGINE, behind_engine, doubled, run, session
from engine_op.leaks import leaked_bytes
from engine_op.scale_python import ScaleRuntime

from tfgraphopt.errors import ConfigError
from tfgraphopt.native import build_op_library
from tfgraphopt_trt import engine_op as eo

PLAN = b"3 1-4 2-2 8-16"  # the engine triples, the body doubles: so one sees which ran


def _graph(runtime: str, plan: bytes = PLAN, *, strict: bool = False, **engine: str) -> tf.compat.v1.GraphDef:
    return behind_engine(
        doubled(), ["x"], ["y"], "TRTEngineOp", runtime=runtime, serialized_segment=plan, strict=strict, **engine
    )


def _x(batch: int) -> np.ndarray:
    return np.arange(batch * 3, dtype=np.float32).reshape(batch, 3)


@pytest.mark.parametrize("batch", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("op", ["TRTEngineOp", "TfgraphoptEngineOp"])
def test_engine_runs_inside_its_profiles(scale: str, batch: int, op: str) -> None:
    graph_def = behind_engine(doubled(), ["x"], ["y"], op=op, runtime=scale, serialized_segment=PLAN)
    np.testing.assert_array_equal(run(graph_def, _x(batch)), _x(batch) * 3)
    assert eo.counters() == {ENGINE: eo.EngineCounters(engine_runs=1, engines_created=1, contexts_created=1)}


@pytest.mark.parametrize("batch", [5, 17])
def test_body_runs_outside_every_profile(scale: str, batch: int) -> None:
    np.testing.assert_array_equal(run(_graph(scale), _x(batch)), _x(batch) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"shape_outside_profiles": 1}


def test_each_profile_has_contexts_of_its_own(scale_library: Path) -> None:
    with eo.register_native_runtime("scale", scale_library, "scale_runtime"), session(_graph("scale")) as s:
        for batch in (1, 3, 2, 9, 2, 1):  # the tightest for 2 is profile 1, for 1 and 3 profile 0, for 9 profile 2
            s.run("y:0", {"x:0": _x(batch)})
    assert eo.counters()[ENGINE] == eo.EngineCounters(engine_runs=6, engines_created=1, contexts_created=3)


def test_wrap_function_runs_the_engine(scale: str) -> None:
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(_graph(scale), name=""), [])
    np.testing.assert_array_equal(whole.prune("x:0", "y:0")(tf.constant(_x(2))), _x(2) * 3)


def test_sixteen_threads_with_mixed_shapes(scale: str) -> None:
    batches = [1, 2, 3, 4, 5, 8, 16, 17]
    inside = {1, 2, 3, 4, 8, 16}
    with session(_graph(scale)) as s:

        def calls(thread: int) -> int:
            ran = 0
            for i in range(40):
                batch = batches[(thread + i) % len(batches)]
                factor = 3 if batch in inside else 2
                np.testing.assert_array_equal(s.run("y:0", {"x:0": _x(batch) + thread}), (_x(batch) + thread) * factor)
                ran += batch in inside
            return ran

        with ThreadPoolExecutor(16) as pool:
            ran = sum(pool.map(calls, range(16)))
    done = eo.counters()[ENGINE]
    assert (done.engine_runs, done.fallbacks) == (ran, {"shape_outside_profiles": 16 * 40 - ran})
    assert done.engines_created == 1
    assert 1 <= done.contexts_created <= 3 * 16


def test_concurrent_calls_do_not_wait_for_each_other() -> None:
    """Four runs meet inside the engine: with a lock around a run they never would."""
    meeting = threading.Barrier(4, timeout=20)
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4, use_per_session_threads=True)

    def meet() -> None:
        meeting.wait()

    runtime = ScaleRuntime(before_run=meet)
    with (
        eo.register_runtime("meeting", runtime),
        session(_graph("meeting"), config) as s,
        ThreadPoolExecutor(4) as pool,
    ):
        results = list(pool.map(lambda _: s.run("y:0", {"x:0": _x(2)}), range(4)))
    assert all(np.array_equal(result, _x(2) * 3) for result in results)
    assert eo.counters()[ENGINE].contexts_created == 4


def test_sessions_of_one_plan_share_an_engine(scale: str) -> None:
    before = eo.live_objects().engines
    with session(_graph(scale)) as first, session(_graph(scale)) as second, session(_graph(scale, b"4 1-4")) as other:
        for s, factor in ((first, 3), (second, 3), (other, 4)):
            np.testing.assert_array_equal(s.run("y:0", {"x:0": _x(2)}), _x(2) * factor)
        assert eo.live_objects().engines == before + 2
    assert eo.counters()[ENGINE].engines_created == 2


def test_nothing_is_left_behind(scale: str) -> None:
    gc.collect()
    before = eo.live_objects()
    with session(_graph(scale)) as s:
        for _ in range(50):
            s.run("y:0", {"x:0": _x(4)})
        assert leaked_bytes(lambda _: s.run("y:0", {"x:0": _x(4)}), 500) < 256
        assert eo.live_objects() == eo.LiveObjects(before.engines + 1, before.contexts + 1)
    assert eo.live_objects() == before


def test_python_runtime_lives_as_long_as_its_engines() -> None:
    import weakref

    class Traced(ScaleRuntime):
        pass

    runtime = Traced()
    gone = weakref.ref(runtime)
    registration = eo.register_runtime("traced", runtime)
    del runtime
    s = session(_graph("traced"))
    s.run("y:0", {"x:0": _x(2)})
    registration.unregister()
    assert gone() is not None
    np.testing.assert_array_equal(
        s.run("y:0", {"x:0": _x(2)}), _x(2) * 2
    )  # this call finds the runtime gone and lets the engine go
    gc.collect()
    assert gone() is None
    s.close()


def test_runtime_may_come_and_go(scale_library: Path) -> None:
    with session(_graph("late")) as s:
        assert np.array_equal(s.run("y:0", {"x:0": _x(2)}), _x(2) * 2)
        with eo.register_native_runtime("late", scale_library, "scale_runtime"):
            assert np.array_equal(s.run("y:0", {"x:0": _x(2)}), _x(2) * 3)
        assert np.array_equal(s.run("y:0", {"x:0": _x(2)}), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"no_runtime": 2}


def test_refused_plan_is_reported_and_not_tried_again(scale_library: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        eo.register_native_runtime("scale", scale_library, "scale_runtime"),
        session(_graph("scale", b"nonsense")) as s,
    ):
        for _ in range(3):
            assert np.array_equal(s.run("y:0", {"x:0": _x(2)}), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"plan_refused": 3}
    assert "this is no scale plan" in capfd.readouterr().err


def test_python_exceptions_become_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ArithmeticError("out of luck")

    with eo.register_runtime("failing", ScaleRuntime(before_run=fail)):
        assert np.array_equal(run(_graph("failing"), _x(2)), _x(2) * 2)
        with pytest.raises(tf.errors.AbortedError, match="ArithmeticError: out of luck"):
            run(_graph("failing", strict=True), _x(2))
        assert np.array_equal(run(_graph("failing", b"x 1-2"), _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"run_failed": 2, "plan_refused": 1}
    assert "ArithmeticError: out of luck" in capfd.readouterr().err


@pytest.mark.parametrize("info", [eo.EngineInfo((3,), (1,)), eo.EngineInfo((1, 1), (1,)), eo.EngineInfo((1,), ())])
def test_engine_of_another_signature_is_not_run(info: eo.EngineInfo) -> None:
    with eo.register_runtime("other", ScaleRuntime(info=info)):
        assert np.array_equal(run(_graph("other"), _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"signature_mismatch": 1}


def test_engine_must_give_the_shape_the_node_promises(scale: str) -> None:
    graph_def = _graph(scale)
    shape = next(n for n in graph_def.node if n.name == ENGINE).attr["output_shapes"].list.shape[0]
    shape.dim[1].size = 7
    with session(graph_def) as s:
        s.run("y:0", {"x:0": _x(2)})
    assert eo.counters()[ENGINE].fallbacks == {"signature_mismatch": 1}


def test_tensors_of_too_many_dimensions_stay_in_tensorflow(scale: str) -> None:
    graph_def = behind_engine(doubled(rank=9), ["x"], ["y"], runtime=scale, serialized_segment=PLAN)
    x = np.ones((1,) * 9, np.float32)
    np.testing.assert_array_equal(run(graph_def, x), x * 2)
    assert eo.counters()[ENGINE].fallbacks == {"shape_outside_profiles": 1}


def test_damaged_plan_is_detected(scale: str) -> None:
    digest = hashlib.sha256(PLAN).hexdigest()
    assert np.array_equal(run(_graph(scale, PLAN, plan_digest=digest), _x(2)), _x(2) * 3)
    assert np.array_equal(run(_graph(scale, b"9" + PLAN[1:], plan_digest=digest), _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"plan_damaged": 1}


@pytest.fixture(scope="module")
def digests() -> ctypes.CDLL:
    """The digest of plans, compiled on its own."""
    header = Path(eo.__file__).parent / "sha256.h"
    sources = [Path(__file__).with_name("digest.cc"), header]
    return ctypes.CDLL(str(build_op_library("digest", sources, include_dirs=[header.parent])))


@pytest.mark.parametrize("instructions", [False, True])
def test_digest_is_sha256_at_every_block_boundary(digests: ctypes.CDLL, instructions: bool) -> None:
    if instructions and not digests.has_instructions():
        pytest.skip("this processor has no SHA-256 instructions")
    rng, text = np.random.default_rng(0), ctypes.create_string_buffer(65)
    for size in (0, 1, 3, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 1 << 16):
        plan = rng.bytes(size)
        digests.digest(plan, ctypes.c_size_t(size), int(instructions), text)
        assert text.value.decode() == hashlib.sha256(plan).hexdigest()


def test_plan_in_a_side_file(scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, digest = tmp_path / "engine.plan", hashlib.sha256(PLAN).hexdigest()
    absolute = _graph(scale, b"", plan_path=str(file), plan_digest=digest)
    assert np.array_equal(run(absolute, _x(2)), _x(2) * 2)
    file.write_bytes(PLAN)
    assert np.array_equal(run(absolute, _x(2)), _x(2) * 3)
    monkeypatch.setenv("TFGRAPHOPT_PLAN_DIR", str(tmp_path))
    assert np.array_equal(run(_graph(scale, b"", plan_path="engine.plan", plan_digest=digest), _x(2)), _x(2) * 3)
    assert np.array_equal(run(_graph(scale, b"", plan_path="engine.plan"), _x(2)), _x(2) * 2)
    assert eo.counters()[ENGINE].fallbacks == {"plan_unreadable": 1, "plan_untrusted": 1}


def test_registration_refuses_what_cannot_work(scale_library: Path, tmp_path: Path) -> None:
    with eo.register_runtime("taken", ScaleRuntime()), pytest.raises(ConfigError, match="already registered"):
        eo.register_runtime("taken", ScaleRuntime())
    with pytest.raises(ConfigError, match="version 0 of the engine ABI"):
        eo.register_native_runtime("old", scale_library, "old_runtime")
    with pytest.raises(ConfigError, match="no_such_symbol"):
        eo.register_native_runtime("bad", scale_library, "no_such_symbol")
    with pytest.raises(ConfigError, match="no_such_library"):
        eo.register_native_runtime("bad", tmp_path / "no_such_library.so", "f")


def test_unregistering_twice_is_harmless() -> None:
    registration = eo.register_runtime("twice", ScaleRuntime())
    registration.unregister()
    registration.unregister()


def test_process_exits_cleanly_with_engines_of_a_python_runtime_alive() -> None:
    """And the runtime has learned how many threads TensorFlow gives an operation, which was decided after the op was loaded."""
    program = """
from engine_op.test_op_engines import _graph, _x, ScaleRuntime, session, eo, tf
class Told(ScaleRuntime):
    def create_engine(self, plan, device):
        print(device)
        return super().create_engine(plan, device)
eo.load()
eo.register_runtime("scale", Told())
s = session(_graph("scale"), tf.compat.v1.ConfigProto(intra_op_parallelism_threads=3))
print(s.run("y:0", {"x:0": _x(2)}).sum(), eo.live_objects())
"""
    device, said = in_fresh_process(program).splitlines()
    assert device == str(eo.Device("cpu", 0, 3))
    assert said.startswith("45.0 LiveObjects(engines=1, contexts=1)")


def test_tensorflow_that_has_trt_engine_op_keeps_it() -> None:
    taken = Path(__file__).with_name("taken_name.cc")
    program = f"""
import os
from pathlib import Path
os.environ["TFGRAPHOPT_ENGINE_OPS"] = "off"  # the other one is to be first
from tfgraphopt.native import load_op_library
load_op_library("test_taken_name", [Path(r"{taken}")])
from engine_op.leaks import leaked_bytes
from engine_op.graphs import behind_engine, doubled, run
from tfgraphopt_trt import engine_op as eo
import numpy as np
from tensorflow.python.framework import op_def_registry
eo.load()
eo.load()
print(run(behind_engine(doubled(), ["x"], ["y"], op="TfgraphoptEngineOp"), np.ones((1, 1), np.float32)))
print([attr.name for attr in op_def_registry.get("TRTEngineOp").attr])
"""
    printed = in_fresh_process(program)
    assert printed.splitlines() == ["[[2.]]", "['serialized_segment']"]
