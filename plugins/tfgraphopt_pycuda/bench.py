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
from tfgraphopt.ir import DType
from tfgraphopt_pycuda.native_runtime import NativeRuntime
from tfgraphopt_pycuda.plan_runner import PlanRunner
from tfgraphopt_trt.engine_op import abi

Array = npt.NDArray[Any]
RUNTIME_VARIABLE = "TFGRAPHOPT_PYCUDA_RUNTIME"
"""``LIBRARY:SYMBOL`` of a native runtime; every plan is then its."""


def contestant(request: EngineRequest) -> Contestant | None:
    """Run ``request.plan`` by the runtime that knows it; None where none does.

    Raises:
        MissingDependency: PyCUDA, the driver or a GPU is missing.
        ConfigError: an input has neither array nor shape, or they do not fit the engine.
    """
    runtime = _runtime()
    return None if runtime is None else contestant_of(request, runtime)


def contestant_of(request: EngineRequest, runtime: abi.Runtime) -> Contestant:
    """Run ``request.plan`` by ``runtime``; raises as `contestant`.

    The wall clock goes from arrays in host memory to results in host memory; the clock ``gpu`` is the engine's own work.
    Inputs are called what the engine's attribute ``input_names`` says where the runtime has it, else ``input_0`` and so on.
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


def _runtime() -> abi.Runtime | None:
    named = os.environ.get(RUNTIME_VARIABLE, "")
    if not named:
        return None
    library, _, symbol = named.rpartition(":")
    if not library:
        raise ConfigError(f"{RUNTIME_VARIABLE} is {named!r}", hint="it has to be LIBRARY:SYMBOL")
    return NativeRuntime(Path(library), symbol)


def _inputs(request: EngineRequest, runner: PlanRunner) -> list[Array]:
    """The arrays that were given, and random ones of the shapes that were given."""
    names = input_names(runner.engine, len(runner.info.input_dtypes))
    unknown = sorted({*request.feeds, *request.shapes} - set(names))
    if unknown:
        raise ConfigError(
            f"{request.plan} has no input {', '.join(unknown)}", hint=f"its inputs are {', '.join(names)}"
        )
    missing = [name for name in names if name not in request.feeds and name not in request.shapes]
    if missing:
        raise ConfigError(
            f"{request.plan} does not say the shapes of its inputs", where=missing,
            hint="give them: " + " ".join(f"--shape {name}=2x3" for name in missing),
        )  # fmt: skip
    shapes = [request.feeds[n].shape if n in request.feeds else request.shapes[n] for n in names]
    made = runner.random_inputs(shapes, request.seed)
    types = [DType.of_number(number).np for number in runner.info.input_dtypes]
    return [
        np.asarray(request.feeds[name], dtype) if name in request.feeds else random
        for name, dtype, random in zip(names, types, made, strict=True)
    ]


def input_names(engine: abi.Engine, count: int) -> Sequence[str]:
    """The names of an engine's inputs: its own where it knows them, else by number."""
    return tuple(getattr(engine, "input_names", ())) or tuple(f"input_{i}" for i in range(count))


def _remarks(runner: PlanRunner) -> Sequence[str]:
    memory = runner.gpu.memory()
    return [f"on {runner.gpu.name}; {memory.used / 2**20:.0f} of {memory.total / 2**20:.0f} MiB of its memory in use"]
