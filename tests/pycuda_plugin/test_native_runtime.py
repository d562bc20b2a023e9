"""The C ABI used from Python without TensorFlow's op: the native runtime of the engine op's tests, called on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfgraphopt.errors import ConfigError
from tfgraphopt.native import build_op_library, toolchain
from tfgraphopt_pycuda.native_runtime import EngineRuntimeError, NativeRuntime
from tfgraphopt_trt import engine_op as eo

SOURCE = Path(__file__).parents[1] / "engine_op" / "scale_runtime.cc"
CPU = eo.Device("cpu", 0)
FLOAT = 1


@pytest.fixture(scope="module")
def library() -> Path:
    return build_op_library("test_scale_runtime", [SOURCE, Path(eo.__file__).parent / "engine_runtime.h"])


def _view(array: np.ndarray) -> eo.TensorView:
    return eo.TensorView(FLOAT, array.shape, array.ctypes.data, True)


def test_a_plan_runs_by_the_functions_of_the_abi(library: Path) -> None:
    engine = NativeRuntime(library, "scale_runtime").create_engine(b"3 1-4 2-2 8-16", CPU)
    assert engine.describe() == eo.EngineInfo((FLOAT,), (FLOAT,), 3)
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)
    resolution = engine.resolve([_view(x)])
    assert resolution == eo.Resolution(1, ((2, 3),), 24)  # the tightest profile
    scratch = np.zeros(64, np.float32)
    aligned = -(-scratch.ctypes.data // 64) * 64
    context = engine.create_context(resolution.profile)
    context.enqueue(eo.CallInfo(0, (_view(x),), (_view(y),), aligned, resolution.scratch_bytes, resolution.profile))
    np.testing.assert_array_equal(y, 3 * x)
    with pytest.raises(EngineRuntimeError, match="the scratch is misaligned"):
        context.enqueue(eo.CallInfo(0, (_view(x),), (_view(y),), aligned + 4, 24, resolution.profile))


def test_refusals_come_with_the_runtimes_own_words(library: Path) -> None:
    runtime = NativeRuntime(library, "scale_runtime")
    with pytest.raises(EngineRuntimeError, match="this is no scale plan"):
        runtime.create_engine(b"nonsense", CPU)
    with pytest.raises(eo.DoesNotFit, match="no profile takes this batch size"):
        runtime.create_engine(b"3 1-4", CPU).resolve([_view(np.zeros((5, 1), np.float32))])


def test_a_native_runtime_registers_with_the_op_as_one_written_in_python(library: Path) -> None:
    from engine_op.graphs import ENGINE, behind_engine, doubled, run

    graph_def = behind_engine(doubled(), ["x"], ["y"], runtime="ctypes", serialized_segment=b"3 1-4", strict=True)
    eo.load()
    eo.reset_counters()
    with eo.register_runtime("ctypes", NativeRuntime(library, "scale_runtime")):
        np.testing.assert_array_equal(run(graph_def, np.ones((2, 3), np.float32)), np.full((2, 3), 3, np.float32))
    assert eo.counters()[ENGINE].engine_runs == 1


def test_libraries_that_cannot_be_used_are_refused(library: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="version 0 of the engine ABI"):
        NativeRuntime(library, "old_runtime")
    with pytest.raises(ConfigError, match="no_such_symbol"):
        NativeRuntime(library, "no_such_symbol")
    with pytest.raises(ConfigError, match="no_such_library"):
        NativeRuntime(tmp_path / "no_such_library.so", "f")


DESTROYED = """
import ctypes, sys
import tfgraphopt_pycuda
from tfgraphopt_pycuda import NativeRuntime
from tfgraphopt_trt.engine_op import Device

live = ctypes.CDLL(sys.argv[1]).scale_live
first = NativeRuntime(sys.argv[1], "scale_runtime").create_engine(b"3 1-4", Device("cpu", 0)).create_context(0)
assert live() == 101, live()  # the engine lives as long as its context
second = NativeRuntime(sys.argv[1], "scale_runtime").create_engine(b"3 1-4", Device("cpu", 0))
assert live() == 102, live()
del first
assert live() == 1, live()
del second
assert live() == 0, live()
assert "tensorflow" not in sys.modules
"""


def test_an_engine_outlives_its_contexts_and_nothing_needs_tensorflow(tmp_path: Path) -> None:
    library = tmp_path / "scale.so"
    include = Path(eo.__file__).parent
    command = [toolchain().compiler, "-std=c++17", "-fPIC", "-shared", f"-I{include}", str(SOURCE), "-o", str(library)]
    subprocess.run(command, check=True)
    done = subprocess.run([sys.executable, "-c", DESTROYED, library], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
