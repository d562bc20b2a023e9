"""Tests on a real GPU: they are skipped where TensorFlow sees none. TensorFlow takes memory as it needs it, to leave some to PyCUDA."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # read when TensorFlow makes its first GPU device
os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0"  # the same algorithms each time, so that bits can be compared

import tensorflow as tf
from gpu.runtimes import CudaRuntime, cuda_library

from tfgraphopt_trt import engine_op as eo


@pytest.fixture(autouse=True)
def on_a_gpu() -> None:
    """Start each test with the op loaded and no counts; skip it where there is no GPU."""
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU")
    eo.load()
    eo.reset_counters()


@pytest.fixture(scope="session")
def library() -> Path:
    """The compiled native runtime of the tests."""
    return cuda_library()


@pytest.fixture
def cuda(library: Path) -> Iterator[CudaRuntime]:
    """The native runtime, registered as "cuda", with an empty log."""
    runtime = CudaRuntime(library)
    with eo.register_native_runtime("cuda", library, "cuda_runtime"):
        runtime.take_log()
        yield runtime
