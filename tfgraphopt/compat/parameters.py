"""TF-TRT's constants, its conversion parameters and what it made of wrong ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from tfgraphopt.errors import ConfigError

DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES = 1 << 30
"""One GiB, as in every TensorFlow without TensorRT inside."""

PROFILE_STRATEGY_RANGE = "Range"
PROFILE_STRATEGY_OPTIMAL = "Optimal"
PROFILE_STRATEGY_RANGE_OPTIMAL = "Range+Optimal"
PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE = "ImplicitBatchModeCompatible"

NOT_CONVERTED = -1
"""A minimum segment size that keeps the whole graph in TensorFlow."""


def supported_profile_strategies() -> list[str]:
    """The strategies by which shapes that were seen become profiles."""
    return [
        PROFILE_STRATEGY_RANGE, PROFILE_STRATEGY_OPTIMAL, PROFILE_STRATEGY_RANGE_OPTIMAL,
        PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE,
    ]  # fmt: skip


class TrtPrecisionMode:
    """Names of precisions."""

    FP32: ClassVar[str] = "FP32"
    FP16: ClassVar[str] = "FP16"
    INT8: ClassVar[str] = "INT8"

    @staticmethod
    def supported_precision_modes() -> list[str]:
        """All of them, in upper and lower case."""
        names = [TrtPrecisionMode.FP32, TrtPrecisionMode.FP16, TrtPrecisionMode.INT8]
        return names + [name.lower() for name in names]


class TrtConversionParams(NamedTuple):
    """Parameters of a conversion.

    Attributes:
        max_workspace_size_bytes: scratch memory that an engine may use.
        precision_mode: one of :meth:`TrtPrecisionMode.supported_precision_modes`.
        minimum_segment_size: segments of fewer nodes stay in TensorFlow; -1 converts nothing.
        maximum_cached_engines: without effect: one engine holds the profiles of all shapes.
        use_calibration: for INT8: ranges come from calibration data (else from the model's own quantisation nodes).
        allow_build_at_runtime: whether :meth:`TrtGraphConverterV2.save` may build engines that ``build`` was not called for. Nothing
            is ever built while a model is served.
    """

    max_workspace_size_bytes: int = DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES
    precision_mode: str = TrtPrecisionMode.FP32
    minimum_segment_size: int = 3
    maximum_cached_engines: int = 1
    use_calibration: bool = True
    allow_build_at_runtime: bool = True


DEFAULT_TRT_CONVERSION_PARAMS = TrtConversionParams()


def check_params(params: TrtConversionParams) -> None:
    """ConfigError (a ValueError) for parameters that TF-TRT refused; a warning for what has no effect any more."""
    supported = TrtPrecisionMode.supported_precision_modes()
    if params.precision_mode not in supported:
        raise ConfigError(
            f"precision mode {params.precision_mode!r} is not supported", hint=f"choose one of {supported}"
        )
    if params.minimum_segment_size <= 0 and params.minimum_segment_size != NOT_CONVERTED:
        raise ConfigError(
            f"minimum_segment_size must be positive, or {NOT_CONVERTED}, not {params.minimum_segment_size}"
        )
    if params.maximum_cached_engines != 1:
        superseded("maximum_cached_engines", "one engine holds the profiles of all shapes that build() has seen")


def check_strategy(strategy: str) -> None:
    """ConfigError (a ValueError) for a strategy that does not exist; a warning for the deprecated one."""
    if strategy.lower() not in [s.lower() for s in supported_profile_strategies()]:
        raise ConfigError(
            f"profile strategy {strategy!r} is not supported", hint=f"choose one of {supported_profile_strategies()}"
        )
    if strategy == PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE:
        superseded(
            f"the profile strategy {strategy!r}",
            "Range and Optimal take batches as any other dimension",
            since="TF-TRT 2.11",
        )


def wants_calibration(params: TrtConversionParams) -> bool:
    """Whether ranges have to be found on data."""
    return params.precision_mode.upper() == TrtPrecisionMode.INT8 and params.use_calibration


def superseded(what: str, instead: str, *, since: str = "tfgraphopt") -> None:
    """Warn (Python shows it once a place) that something of TF-TRT's has no effect any more, and say what replaced it."""
    warnings.warn(f"{what} has no effect since {since}: {instead}", UserWarning, stacklevel=4)


def options_of(params: TrtConversionParams) -> Mapping[str, Any]:
    """The parameters as arguments of :func:`tfgraphopt.optimize`."""
    nothing = params.minimum_segment_size == NOT_CONVERTED
    return {
        "precision": params.precision_mode, "max_workspace_size_bytes": params.max_workspace_size_bytes,
        "minimum_segment_size": 1 << 31 if nothing else params.minimum_segment_size,
    }  # fmt: skip
