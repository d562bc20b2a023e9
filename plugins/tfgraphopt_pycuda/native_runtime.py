"""An engine runtime of a shared library, spoken to by its C ABI (``engine_runtime.h``) through ctypes.

The reference user of that ABI outside TensorFlow: each method here is one function of the table. What a native runtime
gives is then used like a runtime written in Python (`tfgraphopt_trt.engine_op.abi.Runtime`).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tfgraphopt.errors import ConfigError
from tfgraphopt_trt.engine_op import abi

_MESSAGE_BYTES = 2048
_KINDS = {"cpu": 0, "cuda": 1}


class EngineRuntimeError(RuntimeError):
    """A function of a native runtime failed; the text is the runtime's own."""


class NativeRuntime:
    """A runtime by its table of functions; engines and contexts are destroyed when nobody holds them any more."""

    def __init__(self, library: Path | str, symbol: str) -> None:
        """Open ``library`` and call its function ``symbol``, which returns the table.

        Raises:
            ConfigError: the library or the function is not there, or speaks another version of the ABI.
        """
        try:
            factory = getattr(ctypes.CDLL(str(library)), symbol)
        except (OSError, AttributeError) as error:
            raise ConfigError(f"{library} has no engine runtime {symbol}", why=str(error)) from error
        factory.restype = ctypes.POINTER(abi.RuntimeTable)
        table = factory()
        if not table or table.contents.abi_version != abi.ABI_VERSION:
            said = table.contents.abi_version if table else "no"
            why = f"it speaks version {said} of the engine ABI, this is version {abi.ABI_VERSION}"
            raise ConfigError(f"the engine runtime {symbol} of {library} cannot be used", why=why)
        self.table: abi.RuntimeTable = table.contents

    def create_engine(self, plan: bytes, device: abi.Device) -> NativeEngine:
        """Return the engine of ``plan``; the device's context must be current. Raises `EngineRuntimeError`."""
        where = abi.CDevice(_KINDS[device.kind], device.ordinal, device.threads)
        handle = _made(
            lambda message: self.table.create_engine(self.table.self, plan, len(plan), ctypes.byref(where), message)
        )
        return NativeEngine(self.table, handle)


class NativeEngine:
    """An engine of a native runtime."""

    def __init__(self, table: abi.RuntimeTable, handle: int) -> None:
        """Own ``handle``."""
        self._table, self._handle = table, handle
        weakref.finalize(self, table.destroy_engine, handle).atexit = False
        self._info = self._describe()

    def describe(self) -> abi.EngineInfo:
        """Return what the engine takes and gives."""
        return self._info

    def _describe(self) -> abi.EngineInfo:
        info = abi.CEngineInfo(struct_size=ctypes.sizeof(abi.CEngineInfo))
        _call(lambda message: self._table.describe(self._handle, ctypes.byref(info), message))
        inputs, outputs = info.num_inputs, info.num_outputs
        return abi.EngineInfo(
            tuple(info.input_dtypes[:inputs]), tuple(info.output_dtypes[:outputs]), info.num_profiles,
            _flags(info.input_on_host, inputs), _flags(info.output_on_host, outputs),
        )  # fmt: skip

    def resolve(self, inputs: Sequence[abi.TensorView]) -> abi.Resolution:
        """Return profile, output shapes and scratch for ``inputs``. Raises `abi.DoesNotFit`, `EngineRuntimeError`."""
        readable = [abi.TensorView(v.dtype, v.shape, v.address if v.on_host else 0, v.on_host) for v in inputs]
        outputs = _tensors([abi.TensorView(dtype, (), 0, False) for dtype in self._info.output_dtypes])
        resolution = abi.CResolution(ctypes.sizeof(abi.CResolution), 0, 0, outputs)
        given = _tensors(readable)
        _call(lambda message: self._table.resolve(self._handle, given, len(inputs), ctypes.byref(resolution), message))
        shapes = tuple(tuple(t.dims[: t.rank]) for t in outputs[: len(self._info.output_dtypes)])
        return abi.Resolution(resolution.profile, shapes, resolution.scratch_bytes)

    def create_context(self, profile: int) -> NativeContext:
        """Return a new context for ``profile``; the device's context must be current. Raises `EngineRuntimeError`."""
        handle = _made(lambda message: self._table.create_context(self._handle, profile, message))
        return NativeContext(self, self._table, handle)


class NativeContext:
    """A context of a native engine, which lives at least as long."""

    def __init__(self, engine: NativeEngine, table: abi.RuntimeTable, handle: int) -> None:
        """Own ``handle``."""
        self._table, self._handle = table, handle
        weakref.finalize(self, _destroy_context, table, handle, engine).atexit = False

    def enqueue(self, call: abi.CallInfo) -> None:
        """Put one run on the call's stream. Raises `EngineRuntimeError`."""
        raw = abi.CCall(
            ctypes.sizeof(abi.CCall), call.stream or None, _tensors(call.inputs), len(call.inputs),
            _tensors(call.outputs), len(call.outputs), call.scratch or None, call.scratch_bytes, call.profile,
        )  # fmt: skip
        _call(lambda message: self._table.enqueue(self._handle, ctypes.byref(raw), message))


def _destroy_context(table: abi.RuntimeTable, handle: int, engine: NativeEngine) -> None:
    """Destroy a context; that ``engine`` is an argument keeps it alive until then."""
    table.destroy_context(handle)


def _flags(flags: Any, count: int) -> tuple[bool, ...]:
    return tuple(bool(flag) for flag in flags[:count]) if flags else ()


def _tensors(views: Sequence[abi.TensorView]) -> Any:
    """Views as a C array (of one element at least: an array of none has no address)."""
    array = (abi.CTensor * max(len(views), 1))()
    for tensor, view in zip(array, views, strict=False):
        tensor.dtype, tensor.rank, tensor.data, tensor.on_host = view.dtype, len(view.shape), view.address, view.on_host
        tensor.dims[: len(view.shape)] = view.shape
    return array


def _call(function: Callable[[Any], int]) -> None:
    buffer, message = _message()
    status = function(ctypes.byref(message))
    if status == abi.DOES_NOT_FIT:
        raise abi.DoesNotFit(_said(buffer))
    if status != abi.OK:
        raise EngineRuntimeError(_said(buffer))


def _made(function: Callable[[Any], int | None]) -> int:
    buffer, message = _message()
    handle = function(ctypes.byref(message))
    if not handle:
        raise EngineRuntimeError(_said(buffer))
    return handle


def _message() -> tuple[Any, abi.Message]:
    buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
    return buffer, abi.Message(ctypes.addressof(buffer), _MESSAGE_BYTES)


def _said(buffer: Any) -> str:
    return str(buffer.value.decode(errors="replace")) or "the engine runtime gave no reason"
