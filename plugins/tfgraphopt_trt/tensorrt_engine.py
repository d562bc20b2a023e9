"""A plan that TensorRT has accepted: its profiles, the shapes of its outputs, and contexts that run it."""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.ir import DType
from tfgraphopt_trt.build_log import BuildLog
from tfgraphopt_trt.emit import DTYPE_NAMES, INPUT_NAME, OUTPUT_NAME
from tfgraphopt_trt.engine_op import CallInfo, DoesNotFit, EngineInfo, Resolution, TensorView
from tfgraphopt_trt.fitting import explain_misfit, tightest
from tfgraphopt_trt.kernel_cache import KernelCache, saver
from tfgraphopt_trt.profiles import Dims, InputRange, Profile, ValueRange
from tfgraphopt_trt.tensorrt_api import TensorRT

Configure = Callable[[Any], KernelCache | None]
_NOWHERE = 256
"""The address of tensors without elements: TensorRT wants one that is not null, and reads nothing there."""
_ELEMENTS: Mapping[int, Any] = {DType.INT32.number: ctypes.c_int32, DType.INT64.number: ctypes.c_int64}


class RunFailed(Exception):
    """TensorRT did not do what it was asked for; the text is what it said."""


@attrs.frozen(slots=True)
class Signature:
    """The tensors of an engine by name, in the order of the node's, and what they are."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    info: EngineInfo
    profiles: tuple[Profile, ...]

    @classmethod
    def of(cls, tensorrt: TensorRT, engine: Any) -> Signature:
        """Read an ``ICudaEngine``."""
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        inputs, outputs = _numbered(names, INPUT_NAME), _numbered(names, OUTPUT_NAME)
        on_host = tensorrt.module.TensorLocation.HOST
        info = EngineInfo(
            tuple(_number(tensorrt, engine.get_tensor_dtype(n)) for n in inputs),
            tuple(_number(tensorrt, engine.get_tensor_dtype(n)) for n in outputs),
            max(1, engine.num_optimization_profiles),
            tuple(engine.get_tensor_location(n) == on_host for n in inputs),
            tuple(engine.get_tensor_location(n) == on_host for n in outputs),
        )
        profiles = tuple(_profile(engine, inputs, info, i) for i in range(engine.num_optimization_profiles))
        profiles = profiles or ({i: InputRange.fixed(engine.get_tensor_shape(n)) for i, n in enumerate(inputs)},)
        return cls(inputs, outputs, info, profiles)


def _numbered(names: set[str], form: str) -> tuple[str, ...]:
    """The names of the given form in order: TensorRT keeps names, not places."""
    found: list[str] = []
    while form.format(len(found)) in names:
        found.append(form.format(len(found)))
    return tuple(found)


def _number(tensorrt: TensorRT, kind: Any) -> int:
    """TensorFlow's number of a ``DataType``."""
    types = tensorrt.module.DataType
    return next(d.number for d, name in DTYPE_NAMES.items() if hasattr(types, name) and getattr(types, name) == kind)


def _profile(engine: Any, inputs: Sequence[str], info: EngineInfo, index: int) -> Profile:
    ranges = {}
    for number, name in enumerate(inputs):
        low, opt, high = (tuple(dims) for dims in engine.get_tensor_profile_shape(name, index))
        ranges[number] = InputRange(
            low, opt, high, _values(engine, name, index) if info.input_on_host[number] else None
        )
    return ranges


def _values(engine: Any, name: str, index: int) -> ValueRange:
    """The values of a shape tensor (the bindings name the two arguments in the wrong order, so they are given by place)."""
    return ValueRange(*engine.get_tensor_profile_values(index, name))


@attrs.define(slots=True, eq=False)
class TensorRTEngine:
    """An ``ICudaEngine`` behind the protocol of :mod:`tfgraphopt_trt.engine_op`; its methods may be called from any thread."""

    engine: Any
    log: BuildLog
    signature: Signature
    config: Any
    _keep: Any
    """What must live as long as the engine: the logger and the runtime."""
    _resolvers: dict[int, Context] = attrs.field(factory=dict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @classmethod
    def of(cls, tensorrt: TensorRT, engine: Any, log: BuildLog, keep: Any, configure: Configure) -> TensorRTEngine:
        """Wrap ``engine``; ``configure`` sets up the configuration of its contexts."""
        config = engine.create_runtime_config()
        strategies = tensorrt.module.ExecutionContextAllocationStrategy
        config.set_execution_context_allocation_strategy(strategies.USER_MANAGED)  # scratch comes from TensorFlow
        kernels = configure(config)
        made = cls(engine, log, Signature.of(tensorrt, engine), config, keep)
        if kernels is not None:
            weakref.finalize(made, saver(kernels))
        return made

    def describe(self) -> EngineInfo:
        """What the engine takes and gives."""
        return self.signature.info

    def resolve(self, inputs: Sequence[TensorView]) -> Resolution:
        """The tightest profile for ``inputs``, output shapes and scratch. Raises DoesNotFit where there is none."""
        shapes = [v.shape for v in inputs]
        on_host = self.signature.info.input_on_host
        values = {i: _elements(v) for i, v in enumerate(inputs) if on_host[i]}
        profile = tightest(self.signature.profiles, shapes, values)
        if profile is None:
            raise DoesNotFit(explain_misfit(self.signature.profiles, shapes, values))
        with self._lock:  # one context a profile answers questions only; the op remembers the answers
            if profile not in self._resolvers:
                self._resolvers[profile] = self.create_context(profile)
            return self._resolvers[profile].resolve(inputs)

    def create_context(self, profile: int) -> Context:
        """A new context for ``profile``, which one call at a time may use."""
        context = self.engine.create_execution_context(self.config)
        if context is None:
            raise RunFailed(_said(self.log, "it made no context"))
        return Context(self.signature, self.log, context, profile)


def _said(log: BuildLog, what: str) -> str:
    return f"{what}: {' '.join(log.errors()[-3:]) or 'it does not say why'}"


def _elements(view: TensorView) -> Dims:
    """The elements of a shape tensor in host memory."""
    count = math.prod(view.shape)
    return tuple((_ELEMENTS[view.dtype] * count).from_address(view.address)) if count else ()


@attrs.define(slots=True, eq=False)
class Context:
    """An ``IExecutionContext``; remembers the shapes it was last told, since telling costs more than comparing."""

    signature: Signature
    log: BuildLog
    context: Any
    profile: int
    _selected: bool = False
    _shapes: dict[str, Dims] = attrs.field(factory=dict)

    def resolve(self, inputs: Sequence[TensorView]) -> Resolution:
        """What the engine makes of ``inputs``, whose data is only read where it is on the host."""
        self._select(0)
        self._give_shapes(inputs)
        for name, view in zip(self.signature.inputs, inputs, strict=True):
            if view.on_host and view.address:
                self._place(name, view)
        missing = self.context.infer_shapes()
        if missing:
            raise RunFailed(_said(self.log, f"shapes do not follow from the inputs ({', '.join(missing)})"))
        shapes = tuple(tuple(self.context.get_tensor_shape(name)) for name in self.signature.outputs)
        if any(d < 0 for shape in shapes for d in shape):
            raise RunFailed(f"the shapes of outputs depend on data: {shapes}")
        return Resolution(self.profile, shapes, self.context.update_device_memory_size_for_shapes())

    def enqueue(self, call: CallInfo) -> None:
        """Put the work on ``call.stream``; nothing here waits for the device."""
        self._select(call.stream)
        self._give_shapes(call.inputs)
        names = (*self.signature.inputs, *self.signature.outputs)
        for name, view in zip(names, (*call.inputs, *call.outputs), strict=True):
            self._place(name, view)
        if call.scratch_bytes:
            self.context.set_device_memory(call.scratch, call.scratch_bytes)
        if not self.context.execute_async_v3(call.stream):
            raise RunFailed(_said(self.log, "it did not run"))

    def _select(self, stream: int) -> None:
        """Choose the profile, once, on the stream that the context will stay with; the first is chosen from the start."""
        if self._selected or self.profile == 0:
            return
        if not self.context.set_optimization_profile_async(self.profile, stream):
            raise RunFailed(_said(self.log, f"it refuses profile {self.profile}"))
        self._selected = True

    def _give_shapes(self, inputs: Sequence[TensorView]) -> None:
        for name, view in zip(self.signature.inputs, inputs, strict=True):
            if self._shapes.get(name) != view.shape:
                if not self.context.set_input_shape(name, view.shape):
                    raise RunFailed(_said(self.log, f"it refuses shape {list(view.shape)} of {name}"))
                self._shapes[name] = view.shape

    def _place(self, name: str, view: TensorView) -> None:
        if not self.context.set_tensor_address(name, view.address or _NOWHERE):
            raise RunFailed(_said(self.log, f"it refuses the address of {name}"))
