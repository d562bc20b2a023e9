"""Plans without TensorFlow, by PyCUDA: right, timed by events, concurrent; the command `bench --engine`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from gpu.runtimes import compiled_alone

from tfgraphopt import plugins
from tfgraphopt.cli import main
from tfgraphopt.diagnosis import diagnose
from tfgraphopt.errors import ConfigError
from tfgraphopt_pycuda import Gpu, NativeRuntime, PlanRunner
from tfgraphopt_pycuda.bench import RUNTIME_VARIABLE
from tfgraphopt_pycuda.native_runtime import EngineRuntimeError
from tfgraphopt_trt.engine_op import DoesNotFit

pytest.importorskip("pycuda", reason="PyCUDA is not installed")
pytestmark = pytest.mark.gpu
PLAN = b"scale=3 batch=1-16 scratch=0"


def _x(batch: int, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, width)).astype(np.float32)


@pytest.fixture
def runtime(library: Path) -> NativeRuntime:
    return NativeRuntime(library, "cuda_runtime")


@pytest.fixture
def runner(runtime: NativeRuntime) -> Iterator[PlanRunner]:
    with PlanRunner(runtime, PLAN) as made:
        yield made


def test_memory_of_the_gpu_is_known() -> None:
    gpu = Gpu()
    before = gpu.memory()
    with gpu.current():
        buffer = gpu.driver.mem_alloc(256 << 20)
        during = gpu.memory()
        buffer.free()
    assert 0 < during.free < before.free <= before.total
    assert during.used - before.used >= 256 << 20
    assert gpu.name.startswith("NVIDIA")
    gpu.close()
    gpu.close()


def test_doctor_says_how_full_the_gpu_is() -> None:
    found = {f.subject: f for f in diagnose(plugins.load(only=["pycuda"]))}
    assert found["PyCUDA"].state == "ok"
    assert "MiB free" in found["memory of GPU 0"].text


def test_there_is_no_gpu_of_that_number() -> None:
    with pytest.raises(ConfigError, match="there is no GPU 99"):
        Gpu(99)


def test_a_plan_computes(runner: PlanRunner) -> None:
    for batch in (1, 16, 3, 1):
        (y,) = runner.run([_x(batch, seed=batch)])
        np.testing.assert_array_equal(y, _x(batch, seed=batch) * np.float32(3))


def test_a_shape_input_stays_on_the_host(runtime: NativeRuntime) -> None:
    with PlanRunner(runtime, b"scale=3 batch=1-4 tile=1") as runner:
        for copies in (1, 4, 2):
            (y,) = runner.run([_x(2), np.array([copies], np.int32)])
            np.testing.assert_array_equal(y, np.repeat(_x(2)[None] * np.float32(3), copies, axis=0))


def test_200_runs_from_8_threads(runner: PlanRunner) -> None:
    def call(i: int) -> None:
        x = _x(1 + i % 16, 4096, seed=i)
        (y,) = runner.run([x])
        np.testing.assert_array_equal(y, x * np.float32(3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(200)))


def test_events_time_the_engine_and_enqueue_does_not_wait(runtime: NativeRuntime) -> None:
    with PlanRunner(runtime, b"scale=3 batch=1-4 spin_us=20000") as runner:
        runner.run([_x(2)])
        times = runner.time([_x(2)])
    assert 0.020 <= times.gpu < 0.030
    assert times.enqueue < 0.005
    assert times.total >= times.gpu


def test_what_does_not_fit_is_refused(runner: PlanRunner, runtime: NativeRuntime) -> None:
    with pytest.raises(DoesNotFit, match="no profile takes this batch size"):
        runner.run([_x(17)])
    with pytest.raises(ConfigError, match="the engine takes"):
        runner.run([_x(1).astype(np.float64)])
    with pytest.raises(ConfigError, match="the engine takes"):
        runner.run([])
    with pytest.raises(EngineRuntimeError, match="what is nonsense"):
        PlanRunner(runtime, b"nonsense")


def test_bench_times_an_engine_by_itself(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, f"{library}:cuda_runtime")
    plan = tmp_path / "engine.plan"
    plan.write_bytes(b"scale=3 batch=1-4 spin_us=5000")
    arguments = ["bench", "--engine", str(plan), "--shape", "input_0=2x3", "--seconds", "0.5", "--json"]
    assert main(arguments) == 0
    (found,) = json.loads(capsys.readouterr().out)["contestants"]
    assert found["items"] == 2
    assert 0.005 <= found["latency"]["gpu"]["p50"] <= found["latency"]["wall"]["p50"]
    assert main([*arguments[:3]]) == 1
    assert "does not say the shapes of its inputs" in capsys.readouterr().err


ALONE = """
import sys
import numpy as np
from tfgraphopt_pycuda import NativeRuntime, PlanRunner
with PlanRunner(NativeRuntime(sys.argv[1], "cuda_runtime"), b"scale=3 batch=1-4") as runner:
    (y,) = runner.run([np.ones((2, 3), np.float32)])
assert np.all(y == 3)
assert "tensorflow" not in sys.modules
"""


def test_nothing_needs_tensorflow(tmp_path: Path) -> None:
    library = compiled_alone(tmp_path)
    done = subprocess.run([sys.executable, "-c", ALONE, library], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
