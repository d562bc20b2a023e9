"""The C ABI of engine_runtime.h in ctypes, and the Python protocols that a runtime written in Python implements.

The ctypes callbacks are fixed functions of this module; the opaque handles that C carries around are owned references
to the Python objects (runtime, engine, context). So nothing has to be remembered on the Python side, and an object
lives exactly as long as C holds it. An exception raised by a runtime becomes the error text of the call: the op then
runs the TensorFlow body.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

ABI_VERSION = 1
MAX_RANK = 8
OK, DOES_NOT_FIT, ERROR = 0, 1, 2


class DoesNotFit(Exception):
    """Raised by `Engine.resolve` where the input shapes are outside every profile; the text says how."""


@attrs.frozen
class Device:
    """Where an engine runs: ``kind`` is ``"cpu"`` or ``"cuda"``, ``ordinal`` the CUDA device.

    ``threads``: on the CPU, as many as TensorFlow gives one operation; 0 where nobody says.
    """

    kind: str
    ordinal: int
    threads: int = 0


@attrs.frozen
class TensorView:
    """A tensor by address: TensorFlow's memory, valid during the call (device memory: in stream order)."""

    dtype: int
    """TensorFlow's DataType number (``tf.DType.as_datatype_enum``)."""
    shape: tuple[int, ...]
    address: int
    """0 where the data cannot be read: device inputs during `Engine.resolve`."""
    on_host: bool


@attrs.frozen
class EngineInfo:
    """What an engine takes and gives. dtypes are TensorFlow DataType numbers."""

    input_dtypes: tuple[int, ...]
    output_dtypes: tuple[int, ...]
    num_profiles: int = 1
    input_on_host: tuple[bool, ...] = ()
    """Shape tensors: wanted in host memory, and `Engine.resolve` depends on their values. Empty: none is."""
    output_on_host: tuple[bool, ...] = ()


@attrs.frozen
class Resolution:
    """The tightest profile that fits given inputs, the output shapes and the bytes of scratch memory a run needs."""

    profile: int
    output_shapes: tuple[tuple[int, ...], ...]
    scratch_bytes: int = 0


@attrs.frozen
class CallInfo:
    """One run: ``stream`` is the CUstream of TensorFlow's device (0 on the CPU)."""

    stream: int
    inputs: tuple[TensorView, ...]
    outputs: tuple[TensorView, ...]
    scratch: int
    scratch_bytes: int
    profile: int


class EngineContext(Protocol):
    """What one call at a time runs on; the op pools contexts and keeps each with one stream and one profile."""

    def enqueue(self, call: CallInfo) -> None:
        """Put the work on ``call.stream`` (GPU; never wait for the device) or do it (CPU). Raises where it cannot."""


class Engine(Protocol):
    """A plan accepted on one device. Its methods are called from any thread, also at the same time."""

    def describe(self) -> EngineInfo:
        """Return what the engine takes and gives."""

    def resolve(self, inputs: Sequence[TensorView]) -> Resolution:
        """Return profile, output shapes and scratch for ``inputs``. Raises `DoesNotFit` outside every profile."""

    def create_context(self, profile: int) -> EngineContext:
        """Return a new context for ``profile``."""


class Runtime(Protocol):
    """Makes engines of plans."""

    def create_engine(self, plan: bytes, device: Device) -> Engine:
        """Return the engine of ``plan`` on ``device``. Raises where the plan is not for this device or version."""


class Message(ctypes.Structure):
    """TfgoMessage."""

    _fields_ = [("text", ctypes.c_void_p), ("capacity", ctypes.c_size_t)]


class CDevice(ctypes.Structure):
    """TfgoDevice."""

    _fields_ = [("kind", ctypes.c_int32), ("ordinal", ctypes.c_int32), ("threads", ctypes.c_int32)]


class CTensor(ctypes.Structure):
    """TfgoTensor."""

    _fields_ = [
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("dims", ctypes.c_int64 * MAX_RANK),
        ("data", ctypes.c_void_p),
        ("on_host", ctypes.c_int32),
    ]


class CEngineInfo(ctypes.Structure):
    """TfgoEngineInfo."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("num_inputs", ctypes.c_int32),
        ("num_outputs", ctypes.c_int32),
        ("num_profiles", ctypes.c_int32),
        ("input_dtypes", ctypes.POINTER(ctypes.c_int32)),
        ("output_dtypes", ctypes.POINTER(ctypes.c_int32)),
        ("input_on_host", ctypes.POINTER(ctypes.c_uint8)),
        ("output_on_host", ctypes.POINTER(ctypes.c_uint8)),
    ]


class CResolution(ctypes.Structure):
    """TfgoResolution."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("profile", ctypes.c_int32),
        ("scratch_bytes", ctypes.c_size_t),
        ("outputs", ctypes.POINTER(CTensor)),
    ]


class CCall(ctypes.Structure):
    """TfgoCall."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("stream", ctypes.c_void_p),
        ("inputs", ctypes.POINTER(CTensor)),
        ("num_inputs", ctypes.c_int32),
        ("outputs", ctypes.POINTER(CTensor)),
        ("num_outputs", ctypes.c_int32),
        ("scratch", ctypes.c_void_p),
        ("scratch_bytes", ctypes.c_size_t),
        ("profile", ctypes.c_int32),
    ]


_MESSAGE = ctypes.POINTER(Message)
_CREATE_ENGINE = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(CDevice), _MESSAGE
)
_DESCRIBE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(CEngineInfo), _MESSAGE)
_RESOLVE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(CTensor), ctypes.c_int32, ctypes.POINTER(CResolution), _MESSAGE
)
_CREATE_CONTEXT = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, _MESSAGE)
_ENQUEUE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(CCall), _MESSAGE)
_DROP = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class RuntimeTable(ctypes.Structure):
    """TfgoRuntime."""

    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("struct_size", ctypes.c_size_t),
        ("self", ctypes.c_void_p),
        ("create_engine", _CREATE_ENGINE),
        ("describe", _DESCRIBE),
        ("resolve", _RESOLVE),
        ("create_context", _CREATE_CONTEXT),
        ("enqueue", _ENQUEUE),
        ("destroy_context", _DROP),
        ("destroy_engine", _DROP),
        ("release", _DROP),
    ]


@attrs.frozen(eq=False)
class _HeldEngine:
    """An engine with the arrays that its description in C points to."""

    engine: Engine
    info: EngineInfo
    arrays: tuple[Any, ...]


def drop(table: RuntimeTable) -> None:
    """Give back the reference that ``table`` owns, where C has refused to register it."""
    _release(table.self)


def _hold(value: object) -> int:
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return id(value)


def _held(handle: int) -> Any:
    return ctypes.cast(handle, ctypes.py_object).value


def _release(handle: int) -> None:
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(_held(handle)))


def _say(message: Any, error: BaseException) -> None:
    target = message.contents
    text = f"{type(error).__name__}: {error}".encode(errors="replace")[: target.capacity - 1]
    ctypes.memmove(target.text, text + b"\0", len(text) + 1)


def _handle_or_none(message: Any, make: Callable[[], object]) -> int | None:
    """Return an owned handle of what ``make`` returns; None, and the error's text in ``message``, where it raises."""
    try:
        return _hold(make())
    except BaseException as error:  # whatever a runtime raises, C must see a return value
        _say(message, error)
        return None


def _status(message: Any, work: Callable[[], None]) -> int:
    try:
        work()
    except DoesNotFit as error:
        _say(message, error)
        return DOES_NOT_FIT
    except BaseException as error:
        _say(message, error)
        return ERROR
    return OK


def _view(tensor: CTensor) -> TensorView:
    return TensorView(tensor.dtype, tuple(tensor.dims[: tensor.rank]), tensor.data or 0, bool(tensor.on_host))


def _views(tensors: Any, count: int) -> tuple[TensorView, ...]:
    return tuple(_view(tensors[i]) for i in range(count))


def _fill_info(info: CEngineInfo, held: _HeldEngine) -> None:
    info.num_inputs = len(held.info.input_dtypes)
    info.num_outputs = len(held.info.output_dtypes)
    info.num_profiles = held.info.num_profiles
    info.input_dtypes, info.output_dtypes, info.input_on_host, info.output_on_host = held.arrays


def _flags(flags: Sequence[bool], count: int) -> Any:
    return (ctypes.c_uint8 * count)(*(flags or (False,) * count))


def _hold_engine(engine: Engine) -> _HeldEngine:
    info = engine.describe()
    inputs, outputs = len(info.input_dtypes), len(info.output_dtypes)
    arrays = (
        (ctypes.c_int32 * inputs)(*info.input_dtypes),
        (ctypes.c_int32 * outputs)(*info.output_dtypes),
        _flags(info.input_on_host, inputs),
        _flags(info.output_on_host, outputs),
    )
    return _HeldEngine(engine, info, arrays)


def _fill_resolution(target: CResolution, resolution: Resolution, held: _HeldEngine) -> None:
    if len(resolution.output_shapes) != len(held.info.output_dtypes):
        raise ValueError(
            f"resolve gave {len(resolution.output_shapes)} shapes for {len(held.info.output_dtypes)} outputs"
        )
    target.profile = resolution.profile
    target.scratch_bytes = resolution.scratch_bytes
    for i, shape in enumerate(resolution.output_shapes):
        if len(shape) > MAX_RANK:
            raise ValueError(f"output {i} has {len(shape)} dimensions; at most {MAX_RANK} are possible")
        target.outputs[i].rank = len(shape)
        target.outputs[i].dims[: len(shape)] = shape


def _call_info(call: CCall) -> CallInfo:
    inputs, outputs = _views(call.inputs, call.num_inputs), _views(call.outputs, call.num_outputs)
    return CallInfo(call.stream or 0, inputs, outputs, call.scratch or 0, call.scratch_bytes, call.profile)


def _create_engine(runtime: int, plan: int, size: int, device: Any, message: Any) -> int | None:
    kind = "cuda" if device.contents.kind else "cpu"
    where = Device(kind, device.contents.ordinal, device.contents.threads)
    return _handle_or_none(
        message, lambda: _hold_engine(_held(runtime).create_engine(ctypes.string_at(plan, size), where))
    )


def _describe(engine: int, info: Any, message: Any) -> int:
    return _status(message, lambda: _fill_info(info.contents, _held(engine)))


def _resolve(engine: int, inputs: Any, count: int, resolution: Any, message: Any) -> int:
    held: _HeldEngine = _held(engine)
    return _status(
        message, lambda: _fill_resolution(resolution.contents, held.engine.resolve(_views(inputs, count)), held)
    )


def _create_context(engine: int, profile: int, message: Any) -> int | None:
    return _handle_or_none(message, lambda: _held(engine).engine.create_context(profile))


def _enqueue(context: int, call: Any, message: Any) -> int:
    return _status(message, lambda: _held(context).enqueue(_call_info(call.contents)))


# C keeps these addresses: they live as long as the module.
_CALLBACKS = (
    _CREATE_ENGINE(_create_engine),
    _DESCRIBE(_describe),
    _RESOLVE(_resolve),
    _CREATE_CONTEXT(_create_context),
    _ENQUEUE(_enqueue),
    *(_DROP(_release),) * 3,
)


def runtime_table(runtime: Runtime) -> RuntimeTable:
    """Return the C table of ``runtime``; it owns a reference to ``runtime`` until C calls its ``release``."""
    return RuntimeTable(
        ABI_VERSION,
        ctypes.sizeof(RuntimeTable),
        _hold(runtime),
        *_CALLBACKS,
    )
