"""One door to TensorRT: ``tensorrt`` 10.x and 11.x, and TensorRT for RTX; features are probed by attribute."""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError, MissingDependency

_INSTALL = 'pip install "tfgraphopt[rtx]" (TensorRT for RTX) or pip install "tfgraphopt[tensorrt]" (TensorRT)'


@attrs.frozen(slots=True)
class Flavour:
    """One product line: the modules that speak to it, and the libraries those need, in loading order."""

    name: str
    modules: tuple[str, ...]
    libraries: tuple[str, ...]
    packages: tuple[str, ...]


FLAVOURS = (
    Flavour(
        "tensorrt",
        ("tensorrt", "tensorrt_bindings"),
        ("libnvinfer.so*", "libnvinfer_plugin.so*", "libnvonnxparser.so*"),
        ("tensorrt",),
    ),
    Flavour(
        "tensorrt_rtx",
        ("tensorrt_rtx", "tensorrt_rtx_bindings"),
        ("libtensorrt_rtx.so*", "libtensorrt_onnxparser_rtx.so*"),
        ("tensorrt_rtx", "onnxruntime_ep_nv_tensorrt_rtx"),
    ),
)
"""Tried in this order: who has the full TensorRT installed has it for the GPU at hand."""

Probe = Callable[[Any], bool]

FEATURES: Mapping[str, Probe] = {
    "compute_capabilities": lambda trt: hasattr(trt.IBuilderConfig, "set_compute_capability"),
    "plugins": lambda trt: hasattr(trt.INetworkDefinition, "add_plugin_v3"),
    "squeeze": lambda trt: hasattr(trt.INetworkDefinition, "add_squeeze"),
    "cumulative": lambda trt: hasattr(trt.INetworkDefinition, "add_cumulative"),
    "normalization_v2": lambda trt: hasattr(trt.INetworkDefinition, "add_normalization_v2"),
    "indices_type": lambda trt: "indices_type" in (trt.INetworkDefinition.add_topk.__doc__ or ""),
    "tf32": lambda trt: hasattr(trt.BuilderFlag, "TF32"),
    "weak_typing": lambda trt: hasattr(trt.BuilderFlag, "FP16"),
    "runtime_cache": lambda trt: hasattr(trt, "IRuntimeCache"),
    "engine_validity": lambda trt: hasattr(trt.Runtime, "get_engine_validity"),
    "cuda_graphs": lambda trt: hasattr(trt, "CudaGraphStrategy"),
    "dynamic_kernels": lambda trt: hasattr(trt, "DynamicShapesKernelSpecializationStrategy"),
}
"""What differs between versions and flavours, by name."""


@attrs.frozen(slots=True)
class TensorRT:
    """A loaded TensorRT.

    Attributes:
        module: the Python module of its bindings.
        flavour: ``"tensorrt"`` or ``"tensorrt_rtx"``.
        version: for example ``"1.7.1.116"``.
        features: the names of :data:`FEATURES` that it has.
    """

    module: Any = attrs.field(repr=False)
    flavour: str
    version: str
    features: frozenset[str]

    @classmethod
    def of(cls, module: Any) -> TensorRT:
        """The facade over an imported bindings module; the flavour is told by what it has, not by its name."""
        flavour = "tensorrt_rtx" if hasattr(module, "ComputeCapability") else "tensorrt"
        features = frozenset(name for name, probe in FEATURES.items() if probe(module))
        return cls(module, flavour, module.__version__, features)

    @property
    def is_portable(self) -> bool:
        """Whether plans are built for a set of GPUs and without one; else only for the GPU of this machine."""
        return "compute_capabilities" in self.features


@attrs.frozen(slots=True)
class Installation:
    """What :func:`available` found of one flavour: ``tensorrt``, or the reason in ``problem``.

    ``is_absent`` tells a flavour that is not installed from one that is and does not load.
    """

    flavour: str
    tensorrt: TensorRT | None = None
    libraries: tuple[str, ...] = ()
    problem: str = ""
    is_absent: bool = False

    def __str__(self) -> str:
        state = f"{self.tensorrt.version}" if self.tensorrt else f"not usable: {self.problem}"
        return f"{self.flavour} {state}" + (f" ({', '.join(self.libraries)})" if self.libraries else "")


def load(prefer: str | None = None) -> TensorRT:
    """The TensorRT of this environment.

    Args:
        prefer: ``"tensorrt"`` or ``"tensorrt_rtx"`` takes that one and no other; None takes the first that is there.

    Raises:
        ConfigError: there is no flavour of that name.
        MissingDependency: none can be loaded; the message has the reason for each.
    """
    problems = []
    for flavour in _wanted(prefer):
        found = _installation(flavour)
        if found.tensorrt is not None:
            return found.tensorrt
        problems.append(f"{found.flavour}: {found.problem}")
    raise MissingDependency("TensorRT is not installed", why="; ".join(problems), hint=_INSTALL)


def available() -> list[Installation]:
    """Every flavour with its version, or why it cannot be used (for ``doctor``)."""
    return [_installation(flavour) for flavour in FLAVOURS]


def installed() -> list[str]:
    """The names of the flavours whose modules are there; nothing is imported."""
    return [f.name for f in FLAVOURS if any(importlib.util.find_spec(m) is not None for m in f.modules)]


_RTX_CAPABILITIES = frozenset({(7, 5), (8, 0), (8, 6), (8, 9)})


def runs_on(flavour: str, capability: tuple[int, int]) -> bool:
    """Whether plans of a flavour run on GPUs of a compute capability, as far as is known without trying.

    TensorRT for RTX 1.7 says itself: "Supported compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0", and 7.5 when asked to build for it.
    """
    return flavour != "tensorrt_rtx" or capability in _RTX_CAPABILITIES or capability >= (12, 0)


def _wanted(prefer: str | None) -> Sequence[Flavour]:
    chosen = [f for f in FLAVOURS if prefer in (None, f.name)]
    if not chosen:
        raise ConfigError(f"there is no TensorRT flavour {prefer!r}", hint=f"use one of {[f.name for f in FLAVOURS]}")
    return chosen


def _installation(flavour: Flavour) -> Installation:
    modules = [name for name in flavour.modules if importlib.util.find_spec(name) is not None]
    if not modules:
        return Installation(flavour.name, problem=f"no module {' or '.join(flavour.modules)}", is_absent=True)
    libraries, problems = _preload(flavour)
    for name in modules:
        try:
            return Installation(flavour.name, TensorRT.of(importlib.import_module(name)), libraries)
        except Exception as error:  # a broken installation fails in any way: ImportError, OSError, AttributeError, ...
            problems.append(f"import {name}: {type(error).__name__}: {error}")
    return Installation(flavour.name, None, libraries, "; ".join(problems))


def _preload(flavour: Flavour) -> tuple[tuple[str, ...], list[str]]:
    """Open the flavour's libraries for everybody, since the bindings look for them by name only."""
    loaded, problems = [], []
    directories = library_directories(flavour)
    for pattern in flavour.libraries:
        found = [path for directory in directories for path in sorted(directory.glob(pattern))]
        for path in found[:1]:
            try:
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
                loaded.append(str(path))
            except OSError as error:
                problems.append(str(error))
    return tuple(loaded), problems


def library_directories(flavour: Flavour) -> list[Path]:
    """Directories of installed packages that carry the flavour's libraries; nothing is imported to find them."""
    found: dict[Path, None] = {}
    for distribution in _distributions(flavour):
        for file in distribution.files or ():
            if any(file.match(pattern) for pattern in flavour.libraries):
                found[Path(str(distribution.locate_file(file))).parent] = None
    return list(found)


def _distributions(flavour: Flavour) -> Iterator[importlib.metadata.Distribution]:
    """The installed distributions of a flavour; only the names of the others are read, since there may be hundreds."""
    for entry in dict.fromkeys(sys.path):
        for package in flavour.packages:
            for metadata in sorted(Path(entry).glob(f"{package}*.dist-info")):
                if _is_of(metadata.name.split("-")[0].lower(), package):
                    yield importlib.metadata.PathDistribution(metadata)


def _is_of(name: str, package: str) -> bool:
    """Whether distribution ``name`` is ``package`` or one of its parts (``_cu13``, ``_cu13_libs``, ``_libs``...)."""
    rest = name.removeprefix(package)
    return rest != name and (not rest or rest.startswith(("_cu", "_libs", "_bindings")))
