"""The runtime of scale_runtime.cc in Python, with plans that misbehave on demand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import attrs
import numpy as np

from tfgraphopt_trt import engine_op as eo

ONE_FLOAT = eo.EngineInfo((1,), (1,))


def array(view: eo.TensorView) -> np.ndarray:
    """Return float32 memory as an array, without a copy."""
    return np.ctypeslib.as_array(ctypes.cast(view.address, ctypes.POINTER(ctypes.c_float)), view.shape)


@attrs.frozen
class Context:
    scale: float
    before_run: Callable[[], None]

    def enqueue(self, call: eo.CallInfo) -> None:
        self.before_run()
        np.multiply(array(call.inputs[0]), np.float32(self.scale), out=array(call.outputs[0]))


@attrs.frozen
class Engine:
    scale: float
    profiles: tuple[tuple[int, int], ...]
    before_run: Callable[[], None]
    info: eo.EngineInfo = ONE_FLOAT

    def describe(self) -> eo.EngineInfo:
        return self.info

    def resolve(self, inputs: Sequence[eo.TensorView]) -> eo.Resolution:
        batch = inputs[0].shape[0]
        for index, (low, high) in enumerate(self.profiles):
            if low <= batch <= high:
                return eo.Resolution(index, (inputs[0].shape,))
        raise eo.DoesNotFit(f"batch {batch} is in none of {self.profiles}")

    def create_context(self, profile: int) -> Context:
        return Context(self.scale, self.before_run)


@attrs.frozen
class ScaleRuntime:
    """Takes plans ``b"<scale> <min>-<max> ..."``; each run calls ``before_run``; engines describe ``info``."""

    before_run: Callable[[], None] = lambda: None
    info: eo.EngineInfo = ONE_FLOAT

    def create_engine(self, plan: bytes, device: eo.Device) -> Engine:
        scale, *ranges = plan.decode().split()
        profiles = tuple((int(low), int(high)) for low, high in (r.split("-") for r in ranges))
        return Engine(float(scale), profiles, self.before_run, self.info)
