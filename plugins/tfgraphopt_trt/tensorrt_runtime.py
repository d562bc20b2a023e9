"""The engine runtime "tensorrt": plans on TensorRT 10, 11 and for RTX, through its Python bindings.

It is written against what the bindings of all three say of themselves (the tests check every call by that), and its refusals were seen
on a machine without a GPU and on an H200. No machine at hand can run a plan, so its results are unverified.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError, TfGraphOptError
from tfgraphopt_trt import engine_op, kernel_cache
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.engine_op import Device
from tfgraphopt_trt.kernel_cache import KernelCache
from tfgraphopt_trt.tensorrt_api import TensorRT, installed, load
from tfgraphopt_trt.tensorrt_engine import TensorRTEngine

NAME = "tensorrt"
CUDA_GRAPHS_VARIABLE = "TFGRAPHOPT_RTX_CUDA_GRAPHS"
DYNAMIC_KERNELS_VARIABLE = "TFGRAPHOPT_RTX_DYNAMIC_KERNELS"
KERNEL_CACHE_VARIABLE = "TFGRAPHOPT_RTX_KERNEL_CACHE"
DYNAMIC_KERNELS = ("lazy", "eager", "none")
_RTX_MAGIC = b"vtrt"
_MESSAGES = 100
_REBUILD = "build it for this machine: optimise the model again, or an optimised one with the option rebuild"


class PlanRefused(TfGraphOptError):
    """A plan cannot run here; ``why`` is what TensorRT said."""


@attrs.frozen(slots=True)
class RuntimeOptions:
    """How plans are run. All of them are about TensorRT for RTX, which compiles kernels where it runs; others pass them over.

    Attributes:
        cuda_graphs: capture a whole engine into a CUDA graph and replay it, which saves launches where shapes stay the same.
        dynamic_kernels: what to do for shapes that a profile leaves open: ``lazy`` (a general kernel runs while a special one is
            compiled), ``eager`` (the first run of every shape waits for its special kernel) or ``none`` (general kernels only).
        kernel_cache: the directory that keeps compiled kernels, or None to compile them in every process.
    """

    cuda_graphs: bool = False
    dynamic_kernels: str = attrs.field(default="lazy", validator=attrs.validators.in_(DYNAMIC_KERNELS))
    kernel_cache: Path | None = attrs.field(factory=kernel_cache.default_directory)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> RuntimeOptions:
        """From ``$TFGRAPHOPT_RTX_CUDA_GRAPHS`` (0 or 1), ``..._DYNAMIC_KERNELS`` and ``..._KERNEL_CACHE`` (a directory, or off).

        Raises:
            ConfigError: a variable has a value that it cannot have.
        """
        given = os.environ if environment is None else environment
        graphs = given.get(CUDA_GRAPHS_VARIABLE, "0")
        kernels = given.get(DYNAMIC_KERNELS_VARIABLE, "lazy").lower()
        folder = given.get(KERNEL_CACHE_VARIABLE, "")
        if graphs not in ("0", "1"):
            raise ConfigError(f"{CUDA_GRAPHS_VARIABLE} is {graphs!r}", hint="use 0 or 1")
        if kernels not in DYNAMIC_KERNELS:
            raise ConfigError(f"{DYNAMIC_KERNELS_VARIABLE} is {kernels!r}", hint=f"use {', '.join(DYNAMIC_KERNELS)}")
        made = cls(graphs == "1", kernels)
        if not folder:
            return made
        return attrs.evolve(made, kernel_cache=None if folder.lower() == "off" else Path(folder))


def load_runtime() -> None:
    """Register the engine op, and the runtime where TensorRT is installed; again does nothing.

    TensorRT itself is imported when the first plan wants to run on a GPU. Without it the nodes run their TensorFlow bodies, which the
    counters show as ``no_runtime``.

    Raises:
        NativeBuildError: the op cannot be compiled or loaded.
        ConfigError: an environment variable of :class:`RuntimeOptions` is wrong.
    """
    engine_op.load()
    _registered()


@cache
def _registered() -> bool:
    if not installed():
        return False
    engine_op.register_runtime(NAME, TensorRTRuntime(RuntimeOptions.of_environment()))
    return True


@attrs.frozen(slots=True)
class TensorRTRuntime:
    """Makes engines of plans; register it under another name to run some nodes with other options.

    Attributes:
        options: how plans are run.
        tensorrt: the TensorRT to use; by default the installed one that the plan is for.
    """

    options: RuntimeOptions = attrs.field(factory=RuntimeOptions)
    tensorrt: TensorRT | None = None

    def create_engine(self, plan: bytes, device: Device) -> TensorRTEngine:
        """The engine of ``plan`` on ``device``.

        Raises:
            PlanRefused: it is for another GPU, version or kind of TensorRT, or the device is a CPU.
            MissingDependency: the TensorRT that it is for is not installed.
        """
        if device.kind != "cuda":
            raise PlanRefused("TensorRT runs on GPUs, and the node is on the CPU")
        tensorrt = self.tensorrt or load(flavour_of(plan))
        log = BuildLog(most=_MESSAGES)
        logger = make_logger(tensorrt.module, log)
        runtime = tensorrt.module.Runtime(logger)
        _check_validity(tensorrt, runtime, plan, log)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise _refusal(tensorrt, log)
        return TensorRTEngine.of(tensorrt, engine, log, (logger, runtime), self._configure(tensorrt, plan, device))

    def _configure(self, tensorrt: TensorRT, plan: bytes, device: Device) -> Any:
        """What sets an engine's ``IRuntimeConfig`` up as the options say."""
        return _Configuration(self.options, tensorrt, hashlib.sha256(plan).hexdigest(), device.ordinal)


def flavour_of(plan: bytes) -> str | None:
    """The kind of TensorRT that a plan is for; None when its first bytes do not tell."""
    return "tensorrt_rtx" if plan.startswith(_RTX_MAGIC) else None


@attrs.frozen(slots=True)
class _Configuration:
    options: RuntimeOptions
    tensorrt: TensorRT
    digest: str
    ordinal: int

    def __call__(self, config: Any) -> KernelCache | None:
        """Set ``config`` up; the kernels that its contexts will share, if they are kept."""
        trt, features = self.tensorrt.module, self.tensorrt.features
        if "cuda_graphs" in features:
            strategy = trt.CudaGraphStrategy
            config.cuda_graph_strategy = strategy.WHOLE_GRAPH_CAPTURE if self.options.cuda_graphs else strategy.DISABLED
        if "dynamic_kernels" in features:
            kinds = trt.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = getattr(kinds, self.options.dynamic_kernels.upper())
        if "runtime_cache" not in features or self.options.kernel_cache is None:
            return None
        name = f"{self.digest[:32]}-{self.tensorrt.version}-{self.ordinal}.kernels"
        kernels = KernelCache.opened(self.options.kernel_cache / name, config.create_runtime_cache())
        config.set_runtime_cache(kernels.cache)
        return kernels


def _check_validity(tensorrt: TensorRT, runtime: Any, plan: bytes, log: BuildLog) -> None:
    """PlanRefused with the reasons when TensorRT can tell from a plan's header that it does not fit (it then loads nothing)."""
    if "engine_validity" not in tensorrt.features:
        return
    validity, diagnostics = runtime.get_engine_validity(plan)
    trt = tensorrt.module
    if validity != trt.EngineValidity.INVALID:
        return
    bits = int(diagnostics)
    members = trt.EngineInvalidityDiagnostics.__members__.items()
    found = [name.lower().replace("_", " ") for name, member in members if bits & int(member)]
    raise _refusal(tensorrt, log, ", ".join(found))


def _refusal(tensorrt: TensorRT, log: BuildLog, found: str = "") -> PlanRefused:
    said = " ".join(log.errors())
    why = ": ".join(part for part in (found, said) if part)
    what = f"{tensorrt.flavour} {tensorrt.version} refuses the plan"
    return PlanRefused(what, why=why or "it does not say why", hint=_REBUILD)
