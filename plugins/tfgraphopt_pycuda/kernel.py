"""CUDA kernels compiled by PyCUDA and launched on anybody's stream.

PyCUDA launches on streams of its own only. An engine runtime is handed TensorFlow's stream by its address, in a thread whose
current context PyCUDA's stack does not know; so the launch goes to the driver directly.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

from tfgraphopt.errors import ConfigError, MissingDependency, TfGraphOptError
from tfgraphopt_pycuda import pycuda_api


class CudaError(TfGraphOptError):
    """A call of the CUDA driver failed; the text has the call and the driver's name of the error."""


class Kernel:
    """One ``__global__`` function; thread-safe, and usable in every context of one architecture."""

    def __init__(self, source: str, name: str, architecture: str, options: Sequence[str] = ()) -> None:
        """Compile ``source`` (CUDA C++; it is wrapped in ``extern "C"``) by nvcc, once per content.

        Args:
            source: the program.
            name: of its kernel.
            architecture: as ``nvcc -arch`` takes it (`Gpu.architecture`).
            options: further options of nvcc.

        Raises:
            MissingDependency: PyCUDA, the driver or a GPU is missing.
            ConfigError: nvcc is missing or refuses the program; ``why`` has its output.
        """
        self._name = name
        self._cubin = _compiled(source, name, architecture, options)
        self._functions: dict[int, ctypes.c_void_p] = {}
        self._lock = threading.Lock()

    def launch(
        self, stream: int, grid: Sequence[int], block: Sequence[int], *arguments: Any, shared_bytes: int = 0
    ) -> None:
        """Put a launch on ``stream`` in the calling thread's current context; returns at once.

        Args:
            stream: a CUstream by its address (``pycuda.driver.Stream.handle``, `CallInfo.stream`); 0 is the legacy
                default stream.
            grid: blocks, up to three dimensions.
            block: threads of a block, up to three dimensions.
            arguments: ctypes values of the kernel's parameter types (``c_void_p`` for a pointer).
            shared_bytes: dynamic shared memory.

        Raises:
            CudaError: the driver refuses.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(a) for a in arguments))
        _checked(
            "cuLaunchKernel", self._function(), *_three(grid), *_three(block), shared_bytes, ctypes.c_void_p(stream),
            pointers, None,
        )  # fmt: skip

    def _function(self) -> ctypes.c_void_p:
        context = ctypes.c_void_p()
        _checked("cuCtxGetCurrent", ctypes.byref(context))
        if not context.value:
            raise CudaError(f"kernel {self._name} is launched in a thread without a CUDA context")
        with self._lock:
            if context.value not in self._functions:
                self._functions[context.value] = self._load()
            return self._functions[context.value]

    def _load(self) -> ctypes.c_void_p:
        """The function in the current context; its module stays loaded as long as the context lives."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        _checked("cuModuleLoadData", ctypes.byref(module), self._cubin)
        _checked("cuModuleGetFunction", ctypes.byref(function), module, self._name.encode())
        return function


def _compiled(source: str, name: str, architecture: str, options: Sequence[str]) -> bytes:
    driver, compiler = pycuda_api.load(), pycuda_api.compiler()
    try:
        return bytes(compiler.compile(source, arch=architecture, options=list(options)))
    except (driver.CompileError, OSError) as error:
        raise ConfigError(
            f"kernel {name} does not compile", why=str(error), hint="nvcc has to be on PATH, and the program right"
        ) from error


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1, 1)[:3]
    return x, y, z


@cache
def _libcuda() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MissingDependency("the CUDA driver is not installed", why=str(error)) from error


def _checked(call: str, *arguments: Any) -> None:
    status = getattr(_libcuda(), call)(*arguments)
    if status:
        name = ctypes.c_char_p()
        _libcuda().cuGetErrorName(status, ctypes.byref(name))
        raise CudaError(f"{call} failed", why=(name.value or b"?").decode() + f" ({status})")
