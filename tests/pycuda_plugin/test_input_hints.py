"""What `bench --engine` knows of a plan before it runs: that it is TensorRT's, and the shapes that it is optimised for."""

from __future__ import annotations

from pathlib import Path

import pytest
from trt_build.small_layers import LAYERS, dense

from tfgraphopt.benchmark import EngineRequest
from tfgraphopt.errors import MissingDependency
from tfgraphopt_pycuda import bench, pycuda_api
from tfgraphopt_pycuda.input_hints import InputHint, input_hints
from tfgraphopt_trt.build import BuildOptions, build_plan
from tfgraphopt_trt.build_log import BuildLog
from tfgraphopt_trt.engine_op import EngineInfo
from tfgraphopt_trt.profiles import InputRange, ValueRange
from tfgraphopt_trt.tensorrt_engine import Signature, TensorRTEngine


def test_a_plan_of_tensorrt_for_rtx_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if pycuda_api.unusable() is None:
        pytest.skip("PyCUDA works here: the plan would be run")
    monkeypatch.delenv(bench.RUNTIME_VARIABLE, raising=False)
    plan = tmp_path / "engine.plan"
    plan.write_bytes(build_plan(dense(), LAYERS, ({0: InputRange((1, 4), (8, 4), (32, 4))},), BuildOptions()).plan)
    with pytest.raises(MissingDependency, match="PyCUDA cannot be used"):
        bench.contestant(EngineRequest(plan))


def test_inputs_of_tensorrt_have_names_and_the_shapes_they_are_optimised_for() -> None:
    profile = {
        0: InputRange((1, 4), (8, 4), (32, 4)),
        1: InputRange((2,), (2,), (2,), ValueRange((1, 1), (3, 5), (9, 9))),
    }
    signature = Signature(("images", "sizes"), ("y",), EngineInfo((1, 3), (1,), 1, (False, True)), (profile,))
    engine = TensorRTEngine(None, BuildLog(), signature, None, None)
    assert input_hints(engine) == (InputHint("images", (8, 4)), InputHint("sizes", (2,), (3, 5)))
