"""The TensorRT runtime: every call held against the real bindings of 10, 11 and RTX; real refusals on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf
from engine_op.graphs import ENGINE, behind_engine, doubled, run

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType
from tfgraphopt_trt import engine_op as eo
from tfgraphopt_trt.build import build_plan
from tfgraphopt_trt.engine_op import CallInfo, Device, DoesNotFit, TensorView
from tfgraphopt_trt.profiles import InputRange
from tfgraphopt_trt.tensorrt_api import TensorRT, load, runs_on
from tfgraphopt_trt.tensorrt_engine import RunFailed, TensorRTEngine
from tfgraphopt_trt.tensorrt_runtime import PlanRefused, RuntimeOptions, TensorRTRuntime, flavour_of, load_runtime
from trt_build.disguise import Disguised, Target
from trt_build.fake_engine import PLAN, Module, World
from trt_build.small_layers import LAYERS, dense

GPU = Device("cuda", 0)
FLOAT, INT32 = DType.FLOAT.number, DType.INT32.number


@attrs.frozen
class Stage:
    """A world seen as one version of TensorRT, and the runtime that plays in it."""

    world: World
    target: Target
    tensorrt: TensorRT

    @classmethod
    def of(cls, facts: dict[str, Any], **world: Any) -> Stage:
        made, target = World(load().module, **world), Target(facts)
        tensorrt = TensorRT.of(Disguised(Module(made), target, ""))
        return cls(made, target, attrs.evolve(tensorrt, version=facts["version"]))

    def engine(self, options: RuntimeOptions | None = None) -> TensorRTEngine:
        runtime = TensorRTRuntime(options or RuntimeOptions(kernel_cache=None), self.tensorrt)
        return runtime.create_engine(PLAN, GPU)


def views(x: np.ndarray, n: np.ndarray, *, readable: bool = True) -> tuple[TensorView, ...]:
    """What the op passes: data on the device by address (none while it resolves), the shape tensor on the host."""
    address = x.ctypes.data if readable and x.size else 0
    return TensorView(FLOAT, x.shape, address, False), TensorView(INT32, n.shape, n.ctypes.data, True)


def call(engine: TensorRTEngine, context: Any, x: np.ndarray, n: np.ndarray, stream: int = 7) -> np.ndarray:
    """One call as the op makes it."""
    resolution = engine.resolve(views(x, n, readable=False))
    result = np.zeros(resolution.output_shapes[0], np.float32)
    scratch = np.zeros(resolution.scratch_bytes, np.uint8)
    output = TensorView(FLOAT, result.shape, result.ctypes.data if result.size else 0, False)
    info = CallInfo(stream, views(x, n), (output,), scratch.ctypes.data, scratch.nbytes, resolution.profile)
    (context or engine.create_context(resolution.profile)).enqueue(info)
    return result


ONE, TWO = np.array([1], np.int32), np.array([2], np.int32)


def rows(count: int) -> np.ndarray:
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4)


def test_an_engine_runs_by_calls_that_the_version_takes(any_facts: dict[str, Any]) -> None:
    stage = Stage.of(any_facts)
    engine = stage.engine()
    info = engine.describe()
    assert (info.input_dtypes, info.output_dtypes, info.num_profiles) == ((FLOAT, INT32), (FLOAT,), 2)
    assert (info.input_on_host, info.output_on_host) == ((False, True), (False,))
    context = engine.create_context(0)
    for x in (rows(2), rows(2) + 1, rows(8)):
        np.testing.assert_array_equal(call(engine, context, x, ONE), 2 * x)
    assert stage.world.events.count("ran on stream 7") == 3
    assert "memory USER_MANAGED" in stage.world.events
    assert stage.target.problems == []


def test_the_tightest_profile_is_chosen_and_selected_on_the_stream(any_facts: dict[str, Any]) -> None:
    stage = Stage.of(any_facts)
    engine = stage.engine()
    assert engine.resolve(views(rows(4), TWO)).profile == 1
    assert engine.resolve(views(rows(4), ONE)).profile == 0  # by the value of the shape tensor
    assert engine.resolve(views(rows(3), TWO)).profile == 0
    context = engine.create_context(1)
    for _ in range(2):
        np.testing.assert_array_equal(call(engine, context, rows(4), TWO, stream=9), 2 * rows(4))
    assert stage.world.events.count("profile 1 on stream 9") == 1
    assert stage.target.problems == []


def test_calls_of_many_threads_each_have_a_context(any_facts: dict[str, Any]) -> None:
    stage = Stage.of(any_facts)
    engine = stage.engine()

    def work(seed: int) -> bool:
        x = rows(1 + seed % 8) + seed
        return all(np.array_equal(call(engine, None, x, ONE), 2 * x) for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))
    assert stage.target.problems == []


def test_outside_every_profile_is_said_with_numbers(any_facts: dict[str, Any]) -> None:
    engine = Stage.of(any_facts).engine()
    with pytest.raises(DoesNotFit, match=r"dimension 0 is 9, built for 1 to 8.*profile 1: input 0: dimension 0 is 9"):
        engine.resolve(views(rows(9), ONE))
    with pytest.raises(DoesNotFit, match="value 0 is 4, built for 1 to 3"):
        engine.resolve(views(rows(2), np.array([4], np.int32)))


def test_empty_tensors_and_failures(any_facts: dict[str, Any]) -> None:
    stage = Stage.of(any_facts, profiles=(((0, 4), (2, 4), (8, 4)),), values=(((1,), (1,), (3,)),))
    engine = stage.engine()
    assert call(engine, None, rows(0), ONE).shape == (0, 4)
    stage.world.runs = False
    with pytest.raises(RunFailed, match="it did not run"):
        call(engine, None, rows(2), ONE)
    assert stage.target.problems == []


def test_a_plan_for_another_gpu_is_refused_with_the_reason(any_facts: dict[str, Any]) -> None:
    stage = Stage.of(any_facts, valid=False)
    with pytest.raises(PlanRefused, match="refuses the plan") as refused:
        stage.engine()
    assert "rebuild" in refused.value.hint
    if "engine_validity" in stage.tensorrt.features:
        assert "version mismatch, unsupported cc" in refused.value.why
    assert stage.target.problems == []


OPTIONS: Sequence[tuple[dict[str, str], str, str]] = (
    ({}, "DISABLED", "LAZY"),
    ({"TFGRAPHOPT_RTX_CUDA_GRAPHS": "1", "TFGRAPHOPT_RTX_DYNAMIC_KERNELS": "Eager"}, "WHOLE_GRAPH_CAPTURE", "EAGER"),
)


@pytest.mark.parametrize(("environment", "graphs", "kernels"), OPTIONS)
def test_options_of_the_environment_reach_the_contexts(
    any_facts: dict[str, Any], environment: dict[str, str], graphs: str, kernels: str
) -> None:
    stage = Stage.of(any_facts)
    options = RuntimeOptions.of_environment({"TFGRAPHOPT_RTX_KERNEL_CACHE": "off", **environment})
    engine = stage.engine(options)
    engine.create_context(0)
    is_rtx = "cuda_graphs" in stage.tensorrt.features
    assert f"graphs {graphs if is_rtx else None}" in stage.world.events
    if is_rtx:
        assert engine.config.dynamic_shapes_kernel_specialization_strategy.name == kernels
    assert stage.target.problems == []


def test_kernels_are_kept_from_one_engine_to_the_next(any_facts: dict[str, Any], tmp_path: Path) -> None:
    stage = Stage.of(any_facts)
    options = RuntimeOptions.of_environment({"TFGRAPHOPT_RTX_KERNEL_CACHE": str(tmp_path / "kernels")})
    sizes = []
    for _ in range(2):
        engine = stage.engine(options)
        del engine  # saves
        sizes.append([p.stat().st_size for p in (tmp_path / "kernels").glob("*.kernels")])
    if "runtime_cache" in stage.tensorrt.features:
        assert sizes == [[1], [2]]
        assert "kernels read: 1" in stage.world.events
        (tmp_path / "kernels").chmod(0o777)
        with pytest.raises(ConfigError, match="executable code"):
            stage.engine(options)
    else:
        assert sizes == [[], []]
    assert stage.target.problems == []


@pytest.mark.parametrize("name", ["CUDA_GRAPHS", "DYNAMIC_KERNELS"])
def test_wrong_options_are_told(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RuntimeOptions.of_environment({f"TFGRAPHOPT_RTX_{name}": "perhaps"})


# -- the real TensorRT for RTX, on a machine that cannot run its plans --------------------------------------------------------


@pytest.fixture(scope="module")
def real_plan() -> bytes:
    return build_plan(dense(), LAYERS, ({0: InputRange((1, 4), (8, 4), (32, 4))},)).plan


def test_the_real_tensorrt_says_why_it_refuses(real_plan: bytes) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU: what it says depends on which")
    assert flavour_of(real_plan) == load().flavour
    with pytest.raises(PlanRefused, match=r"tensorrt_rtx 1\.[\s\S]*cudaError 35|driver"):
        TensorRTRuntime().create_engine(real_plan, GPU)
    with pytest.raises(PlanRefused):
        TensorRTRuntime().create_engine(real_plan[:100], GPU)


def test_a_node_on_the_cpu_runs_its_body_and_says_why(real_plan: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU: the node would be on it")
    load_runtime()
    load_runtime()  # once is enough
    eo.reset_counters()
    x = np.ones((2, 4), np.float32)
    graph_def = behind_engine(doubled(), ["x"], ["y"], serialized_segment=real_plan)
    np.testing.assert_array_equal(run(graph_def, x), 2 * x)
    assert eo.counters()[ENGINE].fallbacks == {"plan_refused": 1}
    (line,) = (s for s in capfd.readouterr().err.splitlines() if ENGINE in s)
    assert "TensorRT runs on GPUs, and the node is on the CPU" in line
    with pytest.raises(tf.errors.AbortedError, match="TensorRT runs on GPUs"):
        run(behind_engine(doubled(), ["x"], ["y"], serialized_segment=real_plan, strict=True), x)


def test_it_is_known_where_rtx_plans_run() -> None:
    assert [c for c in ((7, 5), (8, 0), (8, 7), (8, 9), (9, 0), (10, 0), (12, 1)) if runs_on("tensorrt_rtx", c)] == [
        (7, 5), (8, 0), (8, 9), (12, 1),
    ]  # fmt: skip
    assert runs_on("tensorrt", (9, 0))


@pytest.mark.gpu
@pytest.mark.tensorrt
def test_a_plan_runs_on_a_gpu_that_it_is_for() -> None:
    """Never run so far: it needs a GPU of compute capability 7.5, 8.x or 12.x, and TensorRT for RTX."""
    from main_job.jobs import in_session
    from main_job.test_bad_input import small_graph

    import tfgraphopt as tgo
    import tfgraphopt.runtime

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        pytest.skip("TensorFlow sees no GPU")
    capability = tf.config.experimental.get_device_details(devices[0])["compute_capability"]
    if not runs_on(load().flavour, capability):
        pytest.skip(f"plans of {load().flavour} do not run on compute capability {capability}")
    graph_def = small_graph()
    result = tgo.optimize_graph_def(graph_def, ["y"], tgo.Config(max_batch_size=4, strict=True))
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)}
    (got,), (wanted,) = in_session(result.graph_def, ["y"], feeds), in_session(graph_def, ["y"], feeds)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    assert sum(c.engine_runs for c in tfgraphopt.runtime.counters().values()) > 0
