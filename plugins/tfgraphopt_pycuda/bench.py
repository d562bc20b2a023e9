"""``tfgraphopt bench --engine PLAN``: an engine by itself as a contestant of a benchmark."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfgraphopt.benchmark import Contestant, EngineRequest
from tfgraphopt.errors import ConfigError
from tfgraphopt_pycuda.input_hints import InputHint, input_hints
from tfgraphopt_pycuda.native_runtime import NativeRuntime
from tfgraphopt_pycuda.plan_runner import PlanRunner
from tfgraphopt_trt.engine_op import abi
from tfgraphopt_trt.tensorrt_api import installed
from tfgraphopt_trt.tensorrt_runtime import RuntimeOptions, TensorRTRuntime, flavour_of

Array = npt.NDArray[Any]
RUNTIME_VARIABLE = "TFGRAPHOPT_PYCUDA_RUNTIME"
"""``LIBRARY:SYMBOL`` of a native runtime; every plan is then its."""


def contestant(request: EngineRequest) -> Contestant | None:
    """Run ``request.plan`` by the runtime that knows it; None where none does.

    Raises:
        MissingDependency: PyCUDA, the driver or a GPU is missing.
        ConfigError: an input has neither array nor shape, or they do not fit the engine.
    """
    runtime = _runtime(request.plan)
    return None if runtime is None else contestant_of(request, runtime)


def contestant_of(request: EngineRequest, runtime: abi.Runtime) -> Contestant:
    """Run ``request.plan`` by ``runtime``; raises as `contestant`.

    The wall clock goes from arrays in host memory to results in host memory; the clock ``gpu`` is the engine's own work.
    Inputs are called as TensorRT calls them, else ``input_0`` and so on.
    """
    runner = PlanRunner(runtime, request.plan.read_bytes())
    try:
        inputs = _inputs(request, runner)
        runner.run(inputs)
    except BaseException:
        runner.close()
        raise

    def run() -> Mapping[str, float]:
        times = runner.time(inputs)
        return {"gpu": times.gpu, "enqueue": times.enqueue}

    items = int(inputs[0].shape[0]) if inputs and inputs[0].ndim else 1
    return Contestant(f"engine {request.plan.name}", run, items, lambda: _remarks(runner), runner.close)


def _runtime(plan: Path) -> abi.Runtime | None:
    """The runtime that the environment names, else TensorRT's for plans of TensorRT."""
    named = os.environ.get(RUNTIME_VARIABLE, "")
    if not named:
        return TensorRTRuntime(RuntimeOptions.of_environment()) if _is_tensorrt(plan) else None
    library, _, symbol = named.rpartition(":")
    if not library:
        raise ConfigError(f"{RUNTIME_VARIABLE} is {named!r}", hint="it has to be LIBRARY:SYMBOL")
    return NativeRuntime(Path(library), symbol)


def _is_tensorrt(plan: Path) -> bool:
    """Whether a file is a plan: by its first bytes, or, where these do not tell, because the full TensorRT is installed."""
    with plan.open("rb") as file:
        start = file.read(16)
    return flavour_of(start) is not None or "tensorrt" in installed()


def _inputs(request: EngineRequest, runner: PlanRunner) -> list[Array]:
    """The arrays that were given, and random ones (shape tensors: what the engine is optimised for) of the shapes that are known."""
    hints = input_hints(runner.engine)
    names = [hint.name for hint in hints]
    unknown = sorted({*request.feeds, *request.shapes} - set(names))
    if unknown:
        raise ConfigError(
            f"{request.plan} has no input {', '.join(unknown)}", hint=f"its inputs are {', '.join(names)}"
        )
    shapes = [_shape(hint, request) for hint in hints]
    missing = [hint.name for hint, shape in zip(hints, shapes, strict=True) if shape is None]
    if missing:
        raise ConfigError(
            f"{request.plan} does not say the shapes of its inputs", where=missing,
            hint="give them: " + " ".join(f"--shape {name}=2x3" for name in missing),
        )  # fmt: skip
    made = runner.random_inputs([shape or () for shape in shapes], request.seed)
    return [_array(hint, request, random) for hint, random in zip(hints, made, strict=True)]


def _shape(hint: InputHint, request: EngineRequest) -> tuple[int, ...] | None:
    if hint.name in request.feeds:
        return request.feeds[hint.name].shape
    return request.shapes.get(hint.name, hint.shape)


def _array(hint: InputHint, request: EngineRequest, random: Array) -> Array:
    if hint.name in request.feeds:
        return np.asarray(request.feeds[hint.name], random.dtype)
    return random if hint.values is None else np.asarray(hint.values, random.dtype).reshape(random.shape)


def _remarks(runner: PlanRunner) -> Sequence[str]:
    memory = runner.gpu.memory()
    return [f"on {runner.gpu.name}; {memory.used / 2**20:.0f} of {memory.total / 2**20:.0f} MiB of its memory in use"]
