"""The native runtime of the GPU tests compiles with no CUDA toolkit, and says what is missing where there is no driver."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest
from gpu.runtimes import compiled_alone

from tfgraphopt_pycuda import NativeRuntime
from tfgraphopt_pycuda.native_runtime import EngineRuntimeError
from tfgraphopt_trt.engine_op import Device


@pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="the CUDA driver is installed here")
def test_a_native_runtime_for_the_gpu_needs_no_toolkit_to_compile_and_a_driver_to_run(tmp_path: Path) -> None:
    runtime = NativeRuntime(compiled_alone(tmp_path), "cuda_runtime")
    with pytest.raises(EngineRuntimeError, match="the CUDA driver is not installed"):
        runtime.create_engine(b"scale=3 batch=1-4", Device("cuda", 0))
    with pytest.raises(EngineRuntimeError, match="this plan is for a GPU"):
        runtime.create_engine(b"scale=3 batch=1-4", Device("cpu", 0))
