"""Runs and times a plan on a GPU without TensorFlow: device buffers, streams and events by PyCUDA, any engine runtime."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType
from tfgraphopt_pycuda.gpu import Gpu
from tfgraphopt_trt.engine_op import abi

Array = npt.NDArray[Any]
_REMEMBERED_SHAPES = 16
"""Buffers are kept for that many combinations of input shapes."""


@attrs.frozen(slots=True)
class RunTimes:
    """Seconds of one run.

    Attributes:
        gpu: between two events around the engine's own work on its stream.
        enqueue: that the call of the runtime took on the CPU.
        total: from the arrays in host memory to the results in host memory.
    """

    gpu: float
    enqueue: float
    total: float


class PlanRunner:
    """An engine on one GPU, with buffers, a stream and a context for each call that runs at the same time.

    A context manager. Calls from several threads do not wait for each other: each takes a lane of its own from a pool.
    """

    def __init__(self, runtime: abi.Runtime, plan: bytes, *, ordinal: int = 0) -> None:
        """Let ``runtime`` make the engine of ``plan`` on GPU ``ordinal``.

        Raises:
            MissingDependency: PyCUDA, the driver or a GPU is missing.
            ConfigError: there is no such GPU.
            Exception: whatever the runtime raises where it refuses the plan.
        """
        self.gpu = Gpu(ordinal)
        with self.gpu.current():
            self.engine = runtime.create_engine(plan, abi.Device("cuda", ordinal))
        self.info = self.engine.describe()
        self._idle: dict[tuple[Any, ...], list[_Lane]] = {}
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Return the outputs for ``inputs``, which have the engine's element types; in order.

        Raises:
            ConfigError: number or element types of the inputs differ from the engine's.
            DoesNotFit: their shapes are outside every profile.
        """
        outputs, _ = self._run(inputs)
        return outputs

    def time(self, inputs: Sequence[Array]) -> RunTimes:
        """Run once and return how long it took; raises as `run`. The first run of a shape also makes its buffers."""
        _, times = self._run(inputs)
        return times

    def random_inputs(self, shapes: Sequence[Sequence[int]], seed: int = 0) -> list[Array]:
        """Return random inputs: normal floats, integers and bools of 0 and 1 (which index anything that is not empty)."""
        rng = np.random.default_rng(seed)
        return [
            _random(rng, shape, _dtype(number)) for shape, number in zip(shapes, self.info.input_dtypes, strict=True)
        ]

    def close(self) -> None:
        """Free everything; no call may be running. Twice does no harm."""
        if self.gpu.closed:
            return
        with self.gpu.current():
            self._idle.clear()
            del self.engine
        self.gpu.close()

    def __enter__(self) -> PlanRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, inputs: Sequence[Array]) -> tuple[list[Array], RunTimes]:
        arrays = self._checked(inputs)
        with self.gpu.current(), self._lane(arrays) as lane:
            return lane.run(arrays)

    def _checked(self, inputs: Sequence[Array]) -> list[Array]:
        wanted = [_dtype(number) for number in self.info.input_dtypes]
        given = [np.asarray(array) for array in inputs]
        if [array.dtype for array in given] != wanted:
            raise ConfigError(
                f"the engine takes {[str(d) for d in wanted]}, not {[str(a.dtype) for a in given]}",
                hint="give one array for each input, in order, with its element type",
            )
        return given

    @contextmanager
    def _lane(self, arrays: Sequence[Array]) -> Iterator[_Lane]:
        """A lane for these shapes (and values of host inputs, which decide the output shapes) that nobody else uses."""
        key = tuple((a.shape, a.tobytes() if host else b"") for a, host in zip(arrays, self._on_host(), strict=True))
        with self._lock:
            if len(self._idle) >= _REMEMBERED_SHAPES and key not in self._idle:
                self._idle.clear()
            idle = self._idle.setdefault(key, [])
            lane = idle.pop() if idle else None
        lane = lane or _Lane(self.gpu, self.engine, self.info, arrays)
        yield lane  # one whose run failed is not used again
        with self._lock:
            idle.append(lane)

    def _on_host(self) -> tuple[bool, ...]:
        return self.info.input_on_host or (False,) * len(self.info.input_dtypes)


class _Buffer:
    """One tensor of an engine: host memory, and device memory unless the engine wants it on the host."""

    def __init__(self, driver: Any, dtype: np.dtype[Any], number: int, shape: tuple[int, ...], on_host: bool) -> None:
        self._driver, self._on_host = driver, on_host
        self.host: Array = driver.pagelocked_empty(shape, dtype) if _bytes(shape, dtype) else np.empty(shape, dtype)
        self._device = None if on_host or not self.host.nbytes else driver.mem_alloc(self.host.nbytes)
        address = self.host.ctypes.data if on_host else int(self._device or 0)
        self.view = abi.TensorView(number, shape, address, on_host)

    def upload(self, array: Array, stream: Any) -> None:
        np.copyto(self.host, array)
        if self._device is not None:
            self._driver.memcpy_htod_async(self._device, self.host, stream)

    def download(self, stream: Any) -> None:
        if self._device is not None:
            self._driver.memcpy_dtoh_async(self.host, self._device, stream)


class _Lane:
    """What one call at a time runs in: a stream, a context, buffers and two events."""

    def __init__(self, gpu: Gpu, engine: abi.Engine, info: abi.EngineInfo, arrays: Sequence[Array]) -> None:
        driver = gpu.driver
        on_host = info.input_on_host or (False,) * len(info.input_dtypes)
        self._stream, self._start, self._end = driver.Stream(), driver.Event(), driver.Event()
        self._inputs = [
            _Buffer(driver, array.dtype, number, array.shape, host)
            for array, number, host in zip(arrays, info.input_dtypes, on_host, strict=True)
        ]
        for buffer, array in zip(self._inputs, arrays, strict=True):
            np.copyto(buffer.host, array)
        resolution = engine.resolve([buffer.view for buffer in self._inputs])
        out_on_host = info.output_on_host or (False,) * len(info.output_dtypes)
        self._outputs = [
            _Buffer(driver, _dtype(number), number, shape, host)
            for shape, number, host in zip(resolution.output_shapes, info.output_dtypes, out_on_host, strict=True)
        ]
        self._scratch = driver.mem_alloc(resolution.scratch_bytes) if resolution.scratch_bytes else None
        self._context = engine.create_context(resolution.profile)
        self._call = abi.CallInfo(
            self._stream.handle, tuple(b.view for b in self._inputs), tuple(b.view for b in self._outputs),
            int(self._scratch or 0), resolution.scratch_bytes, resolution.profile,
        )  # fmt: skip

    def run(self, arrays: Sequence[Array]) -> tuple[list[Array], RunTimes]:
        started = time.perf_counter()
        for buffer, array in zip(self._inputs, arrays, strict=True):
            buffer.upload(array, self._stream)
        self._start.record(self._stream)
        before = time.perf_counter()
        self._context.enqueue(self._call)
        enqueue = time.perf_counter() - before
        self._end.record(self._stream)
        for buffer in self._outputs:
            buffer.download(self._stream)
        self._stream.synchronize()
        total = time.perf_counter() - started
        gpu = self._end.time_since(self._start) / 1e3  # PyCUDA gives milliseconds
        return [buffer.host.copy() for buffer in self._outputs], RunTimes(gpu, enqueue, total)


def _dtype(number: int) -> np.dtype[Any]:
    return DType.of_number(number).np


def _bytes(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _random(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iub":
        return rng.integers(0, 2, size=tuple(shape)).astype(dtype)
    return rng.normal(size=tuple(shape)).astype(dtype)
