"""The engine runtimes of the tests: cuda_runtime.cc with its log, and one whose kernel is PyCUDA's."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np

from tfgraphopt.native import build_op_library, toolchain
from tfgraphopt_trt import engine_op as eo

HERE = Path(__file__).parent
FLOAT = 1


def cuda_library() -> Path:
    """Compile cuda_runtime.cc (once per content); return the shared library."""
    header = Path(eo.__file__).parent / "engine_runtime.h"
    return build_op_library("test_cuda_runtime", [HERE / "cuda_runtime.cc", header])


def compiled_alone(directory: Path) -> Path:
    """Compile cuda_runtime.cc with neither TensorFlow nor CUDA to link against; return the shared library."""
    library, include = directory / "cuda_runtime.so", Path(eo.__file__).parent
    command = [toolchain().compiler, "-std=c++17", "-fPIC", "-shared", f"-I{include}", str(HERE / "cuda_runtime.cc")]
    subprocess.run([*command, "-o", str(library), "-ldl"], check=True)
    return library


@attrs.frozen
class Enqueued:
    """One enqueue as the native runtime saw it: nanoseconds at its start and end, TensorFlow's stream, the engine's GPU."""

    start: int
    end: int
    stream: int
    ordinal: int


class CudaRuntime:
    """What the library tells beside the ABI."""

    def __init__(self, library: Path) -> None:
        self._take = ctypes.CDLL(str(library)).take_enqueue_log
        self._take.restype = ctypes.c_int64
        self._take.argtypes = [ctypes.c_void_p, ctypes.c_int64]

    def take_log(self) -> list[Enqueued]:
        """Return every enqueue since the last call."""
        numbers = np.zeros(1 << 20, np.int64)
        count = self._take(numbers.ctypes.data, numbers.size)
        return [Enqueued(*(int(n) for n in row)) for row in numbers[:count].reshape(-1, 4)]


SCALE = """
__global__ void scale(const float* x, float* y, float factor, size_t n) {
  size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * factor;
}
"""


@attrs.frozen
class _Context:
    kernel: object
    scale: float

    def enqueue(self, call: eo.CallInfo) -> None:
        n = int(np.prod(call.inputs[0].shape))
        self._launch(call.stream, call.inputs[0].address, call.scratch, 1.0, n)
        self._launch(call.stream, call.scratch, call.outputs[0].address, self.scale, n)

    def _launch(self, stream: int, x: int, y: int, factor: float, n: int) -> None:
        self.kernel.launch(  # type: ignore[attr-defined]
            stream, ((n + 255) // 256,), (256,), ctypes.c_void_p(x), ctypes.c_void_p(y), ctypes.c_float(factor),
            ctypes.c_size_t(n),
        )  # fmt: skip


@attrs.frozen
class _Engine:
    kernel: object
    scale: float

    def describe(self) -> eo.EngineInfo:
        return eo.EngineInfo((FLOAT,), (FLOAT,))

    def resolve(self, inputs: Sequence[eo.TensorView]) -> eo.Resolution:
        shape = inputs[0].shape
        assert inputs[0].address == 0
        return eo.Resolution(0, (shape,), 4 * int(np.prod(shape)))

    def create_context(self, profile: int) -> _Context:
        return _Context(self.kernel, self.scale)


class PyCudaRuntime:
    """``y = x * scale`` through scratch memory, by a kernel that PyCUDA compiled, on the stream that the call names."""

    def __init__(self) -> None:
        from tfgraphopt_pycuda import Gpu, Kernel

        gpu = Gpu()
        self.kernel = Kernel(SCALE, "scale", gpu.architecture)
        gpu.close()

    def create_engine(self, plan: bytes, device: eo.Device) -> _Engine:
        assert device.kind == "cuda"
        return _Engine(self.kernel, float(plan))


@attrs.frozen
class IdleRuntime:
    """A runtime in Python that puts nothing on the stream: what the Python path costs."""

    def create_engine(self, plan: bytes, device: eo.Device) -> IdleRuntime:
        return self

    def describe(self) -> eo.EngineInfo:
        return eo.EngineInfo((FLOAT,), (FLOAT,))

    def resolve(self, inputs: Sequence[eo.TensorView]) -> eo.Resolution:
        return eo.Resolution(0, (inputs[0].shape,))

    def create_context(self, profile: int) -> IdleRuntime:
        return self

    def enqueue(self, call: eo.CallInfo) -> None:
        pass
