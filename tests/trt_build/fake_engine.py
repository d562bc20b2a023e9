"""Stands in for what no machine here has: an engine that TensorRT runs. It doubles float32 tensors in host memory.

Its classes have the names of those of the bindings, and the tests show them to our code through :mod:`trt_build.disguise`: only what
the real bindings of a version have can be used, and every call is checked against the real signatures. So it proves how TensorRT is
called, not what TensorRT does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

NAMES = ("TensorRTInputPH_0", "TensorRTInputPH_1", "TensorRTOutputPH_0")
PLAN = b"a plan of the tests"
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@attrs.define(slots=False)
class World:
    """What an engine is like, and what happened to it."""

    trt: Any
    profiles: Sequence[Range] = (((1, 4), (2, 4), (8, 4)), ((4, 4), (4, 4), (4, 4)))
    values: Sequence[Range] = (((1,), (2,), (3,)), ((2,), (2,), (3,)))
    valid: bool = True
    runs: bool = True
    events: list[str] = attrs.field(factory=list)


class _Part:
    def __init__(self, world: World) -> None:
        self.world = world


def _named(cls: type) -> type:
    """Let a class pass for one of the bindings'."""
    cls.__module__ = "tensorrt_of_the_tests"
    return cls


@_named
class IRuntimeCache(_Part):
    data = b""

    def deserialize(self, blob: bytes) -> bool:
        self.data = blob
        self.world.events.append(f"kernels read: {len(blob)}")
        return True

    def serialize(self) -> bytes:
        return self.data + b"k"


@_named
class IRuntimeConfig(_Part):
    cuda_graph_strategy: Any = None
    dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.world.events.append(f"memory {strategy.name}")

    def create_runtime_cache(self) -> Any:
        return IRuntimeCache(self.world)

    def set_runtime_cache(self, cache: Any) -> bool:
        self.world.events.append("kernels kept")
        return True


@_named
class IExecutionContext(_Part):
    def __init__(self, world: World, config: Any) -> None:
        super().__init__(world)
        self.profile, self.shape, self.memory = 0, (0, 0), 0
        self.addresses: dict[str, int] = {}
        world.events.append(f"graphs {getattr(config.cuda_graph_strategy, 'name', None)}")

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self.profile = profile_index
        self.world.events.append(f"profile {profile_index} on stream {stream_handle}")
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if name == NAMES[0]:
            low, _, high = self.world.profiles[self.profile]
            if not all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True)):
                return False
            self.shape = tuple(shape)
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return memory != 0

    def infer_shapes(self) -> list[str]:
        return [] if NAMES[1] in self.addresses else [NAMES[1]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def update_device_memory_size_for_shapes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = size

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self.world.runs:
            return False
        if self.memory < self.update_device_memory_size_for_shapes():
            return False
        if 0 not in self.shape:
            source, target = (_floats(self.addresses[n], self.shape) for n in (NAMES[0], NAMES[2]))
            np.multiply(source, 2, out=target)
        self.world.events.append(f"ran on stream {stream_handle}")
        return True


def _floats(address: int, shape: tuple[int, ...]) -> Any:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)


@_named
class ICudaEngine(_Part):
    @property
    def num_io_tensors(self) -> int:
        return len(NAMES)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.world.profiles)

    def get_tensor_name(self, index: int) -> str:
        return NAMES[::-1][index]  # in no particular order

    def get_tensor_dtype(self, name: str) -> Any:
        types = self.world.trt.DataType
        return types.INT32 if name == NAMES[1] else types.FLOAT

    def get_tensor_location(self, name: str) -> Any:
        places = self.world.trt.TensorLocation
        return places.HOST if name == NAMES[1] else places.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(1,)] * 3 if name == NAMES[1] else list(self.world.profiles[profile_index])

    def get_tensor_profile_values(self, name: int, profile_index: str) -> list[list[int]]:
        """The bindings call the index "name" and the name "profile_index"."""
        assert profile_index == NAMES[1]
        return [list(point) for point in self.world.values[name]]

    def create_runtime_config(self) -> Any:
        return IRuntimeConfig(self.world)

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        return IExecutionContext(self.world, runtime_config)


class _Runtime(_Part):
    def get_engine_validity(self, buffer: bytes) -> tuple[Any, int]:
        kinds, why = self.world.trt.EngineValidity, self.world.trt.EngineInvalidityDiagnostics
        bad = int(why.UNSUPPORTED_CC) | int(why.VERSION_MISMATCH)
        return (kinds.VALID, 0) if self.world.valid else (kinds.INVALID, bad)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        return ICudaEngine(self.world) if self.world.valid and serialized_engine == PLAN else None


class Module:
    """The bindings module of a world: its runtime is the one above, all else is the real module's."""

    def __init__(self, world: World) -> None:
        @_named
        class Runtime(_Runtime):
            def __init__(self, logger: Any) -> None:
                super().__init__(world)

        self.Runtime = Runtime
        self.IRuntimeCache = IRuntimeCache
        self._real = world.trt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
