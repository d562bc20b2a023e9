"""What a build is asked for and what it gives back; both go through JSON to the worker process and into the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt_trt.build_log import LayerRow


class NoBuilder(EngineBuildFailed):
    """TensorRT cannot build anything here, whatever the network is."""


PROFILING = ("none", "layer_names_only", "detailed")


def _capabilities(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({str(v) for v in values}, key=lambda v: [int(part) for part in v.split(".")]))


@attrs.frozen(slots=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        workspace_bytes: scratch memory that TensorRT may plan for; None leaves it TensorRT's default (all of the GPU).
        tf32: allow TF32 arithmetic for float32 layers on GPUs that have it (TensorRT's own default).
        compute_capabilities: the GPUs to build for, such as ``("8.6", "8.9")``; empty takes every GPU that TensorRT for
            RTX covers by default (Ampere and later). The full TensorRT builds for the GPU of this machine only.
        optimization_level: 0 to 5; TensorRT's default is 3.
        profiling: how much the plan tells of its layers: ``none``, ``layer_names_only`` or ``detailed``.
        layer_table: read the table of the engine's kernels from the builder's log (implies detailed profiling).
        flavour: ``"tensorrt"`` or ``"tensorrt_rtx"``; None takes what is installed.
        timeout_seconds: time limit of one build; holds in a worker process only.
        memory_limit_bytes: resident memory that the worker process may reach; holds in a worker process only.
    """

    workspace_bytes: int | None = None
    tf32: bool = True
    compute_capabilities: tuple[str, ...] = attrs.field(default=(), converter=_capabilities)
    optimization_level: int = attrs.field(default=3, validator=[attrs.validators.ge(0), attrs.validators.le(5)])
    profiling: str = attrs.field(default="layer_names_only", validator=attrs.validators.in_(PROFILING))
    layer_table: bool = False
    flavour: str | None = None
    timeout_seconds: float | None = 600.0
    memory_limit_bytes: int | None = None

    @property
    def profiling_name(self) -> str:
        """The name of TensorRT's ProfilingVerbosity."""
        return "DETAILED" if self.layer_table else self.profiling.upper()

    def of_plan(self) -> dict[str, Any]:
        """The options that change the plan or what is reported of it, for a cache key."""
        left_out = {"timeout_seconds", "memory_limit_bytes", "flavour"}
        return {k: v for k, v in attrs.asdict(self).items() if k not in left_out}

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BuildOptions:
        """From :meth:`to_json`'s data."""
        return cls(**data)


@attrs.frozen(slots=True)
class BuildResult:
    """A built engine and what is known of it.

    Attributes:
        plan: the serialised engine.
        seconds: time of emitting the network and building it.
        layers: number of layers by type (TensorRT's: ``"CONVOLUTION": 53``), as emitted.
        transposes: layers of the network whose permutation moves data (moving an axis of size one does not).
        table: the kernels of the engine, when asked for.
        activation_bytes: scratch memory that a context of the engine needs, when TensorRT said it.
        peak_bytes: highest resident memory of the building process, the process's own share included.
        flavour, version: the TensorRT, or the engine of another kind, that built it.
        shape_inputs: inputs that the engine reads as shape tensors, in host memory.
        ours_unknown: dimensions that TensorRT's inference knew and ours did not.
        theirs_unknown: dimensions that our inference knew and TensorRT's did not.
        warnings: what the builder warned of.
        cached: the plan came from a cache.
    """

    plan: bytes = attrs.field(repr=False)
    seconds: float
    layers: Mapping[str, int]
    transposes: int
    flavour: str
    version: str
    table: tuple[LayerRow, ...] = attrs.field(default=(), repr=False)
    activation_bytes: int | None = None
    peak_bytes: int = 0
    shape_inputs: tuple[int, ...] = ()
    ours_unknown: int = 0
    theirs_unknown: int = 0
    warnings: tuple[str, ...] = ()
    cached: bool = False

    @property
    def sha256(self) -> str:
        """Digest of the plan, hexadecimal."""
        return hashlib.sha256(self.plan).hexdigest()

    @property
    def num_layers(self) -> int:
        """All layers of the network."""
        return sum(self.layers.values())

    def to_json(self) -> dict[str, Any]:
        """Everything but the plan, as JSON data."""
        return attrs.asdict(self, filter=attrs.filters.exclude("plan", "cached"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any], plan: bytes, cached: bool = False) -> BuildResult:
        """From :meth:`to_json`'s data and the plan.

        Raises:
            ConfigError: the data is not of this version of the class.
        """
        fields = dict(data)
        try:
            fields["table"] = tuple(_row(row) for row in fields["table"])
            for name in ("shape_inputs", "warnings"):
                fields[name] = tuple(fields[name])
            return cls(plan=plan, cached=cached, **fields)
        except (KeyError, TypeError) as error:
            raise ConfigError("what is said of a plan does not fit this tfgraphopt", why=str(error)) from error


def _row(data: Mapping[str, Any]) -> LayerRow:
    inputs, outputs = (tuple(tuple(t) for t in data[side]) for side in ("inputs", "outputs"))
    return LayerRow(data["name"], data["type"], inputs, outputs, data["tactic"], data["metadata"])
