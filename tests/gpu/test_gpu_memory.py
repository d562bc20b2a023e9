"""Scratch memory comes from TensorFlow's allocator: one pool, measured by its own statistics and by the driver's."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import tensorflow as tf
from engine_op.graphs import session
from gpu.graphs import chain
from gpu.runtimes import CudaRuntime

pytestmark = pytest.mark.gpu
MIB = 1 << 20
SCRATCH = 256 * MIB


def _used() -> int:
    """Bytes of the GPU that somebody has taken, as the driver counts them."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    cuda = ctypes.CDLL("libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    assert cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
    assert cuda.cuCtxPushCurrent_v2(context) == 0
    assert cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
    assert cuda.cuCtxPopCurrent_v2(ctypes.byref(context)) == 0
    assert cuda.cuDevicePrimaryCtxRelease_v2(device) == 0
    return total.value - free.value


def _statistics() -> dict[str, int]:
    found: dict[str, int] = tf.config.experimental.get_memory_info("GPU:0")
    return found


def test_scratch_is_taken_from_tensorflows_pool_and_given_back(cuda: CudaRuntime) -> None:
    plan = f"scale=3 batch=1-4 scratch={SCRATCH}".encode()
    x = np.ones((2, 3), np.float32)
    tf.zeros([1]).numpy()  # TensorFlow's statistics are its eager context's, which uses the pool of the sessions
    with session(chain(4, runtime="cuda", serialized_segment=plan, strict=True)) as s:
        s.run("y:0", {"x:0": x})
        used, current = _used(), _statistics()["current"]
        tf.config.experimental.reset_memory_stats("GPU:0")
        for _ in range(20):
            s.run("y:0", {"x:0": x})
        peak = _statistics()["peak"] - current
        print(
            f"peak of TensorFlow's pool during calls: {peak / MIB:.1f} MiB with {SCRATCH / MIB:.0f} MiB of scratch a call"
        )
        assert SCRATCH <= peak < SCRATCH + 2 * MIB  # four engines in a row share it, for they are in one stream's order
        assert _statistics()["current"] == current
        assert _used() == used  # nothing was taken beside the pool


def test_without_scratch_nothing_is_taken(cuda: CudaRuntime) -> None:
    with session(chain(1, runtime="cuda", serialized_segment=b"scale=3 batch=1-4", strict=True)) as s:
        s.run("y:0", {"x:0": np.ones((2, 3), np.float32)})
        tf.config.experimental.reset_memory_stats("GPU:0")
        before = _statistics()["current"]
        s.run("y:0", {"x:0": np.ones((2, 3), np.float32)})
        assert _statistics()["peak"] - before < MIB
