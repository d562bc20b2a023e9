"""The options of INT8, as ``Config.options["int8"]`` gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt_int8.statistics import Statistics
from tfgraphopt_precision.settings import Pattern

OPTION = "int8"


def _patterns(texts: str | Sequence[str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(t) for t in ([texts] if isinstance(texts, str) else texts))


def _statistics(value: Any) -> Statistics | None:
    return Statistics.load(value) if isinstance(value, (str, Path)) else value


def _amaxes(value: Mapping[str, float]) -> dict[str, float]:
    wrong = sorted(n for n, a in value.items() if not 0 <= a < float("inf"))
    if wrong:
        raise ConfigError("ranges are finite magnitudes, not negative", where=wrong)
    return {str(n).removesuffix(":0"): float(a) for n, a in value.items()}


def _calibrator(value: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """``"entropy"``, or a mapping of its name and options."""
    if isinstance(value, (str, tuple)):
        return (value, {}) if isinstance(value, str) else value
    given = dict(value)
    return str(given.pop("name", DEFAULT)), given


DEFAULT = "mse"
"""The one that needs no care: it follows outliers and constants alike (figures in docs/plugins/int8.md)."""


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """What the caller wants of INT8.

    Attributes:
        skip: layers to leave in floating point: ``name=`` (of the layer or of a node it comes from), ``op=`` or ``type=`` with a
            shell pattern; a bare pattern is of names.
        force: layers to quantise whatever the rules say.
        statistics: what was recorded, or the path of a file of it.
        calibrator: name of the calibrator, or a mapping of ``name`` and its options.
        amax: ranges by tensor, which count for more than statistics (from TensorRT's calibration caches, or by hand).
        rest: the precision of the layers that are not quantised: fp32, fp16 or bf16. By default fp16 for TensorRT, else fp32.
        residuals: quantise the other operand of a sum behind a quantised layer.
        samples: how many samples to calibrate on at most.
        early_stop: stop calibrating when the ranges do not move any more.
        save, resume: files to write statistics to (also when interrupted), and to go on from.
    """

    skip: tuple[Pattern, ...] = attrs.field(default=(), converter=_patterns)
    force: tuple[Pattern, ...] = attrs.field(default=(), converter=_patterns)
    statistics: Statistics | None = attrs.field(default=None, converter=_statistics)
    calibrator: tuple[str, dict[str, Any]] = attrs.field(default=(DEFAULT, {}), converter=_calibrator)
    amax: Mapping[str, float] = attrs.field(factory=dict, converter=_amaxes)
    rest: str | None = attrs.field(default=None, validator=attrs.validators.in_((None, "fp32", "fp16", "bf16")))
    residuals: bool = True
    samples: int | None = None
    early_stop: bool = True
    save: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    resume: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))

    @classmethod
    def of(cls, config: Config) -> Settings:
        """The settings in ``config``; ConfigError names an option that does not exist."""
        given = dict(config.options.get(OPTION, {}))
        known = {f.name for f in attrs.fields(cls)}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise ConfigError(f"int8 has no option {', '.join(unknown)}", hint=f"it has {', '.join(sorted(known))}")
        try:
            return cls(**given)
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError("an option of int8 is wrong", why=str(error)) from error


def with_options(config: Config, **options: Any) -> Config:
    """``config`` with further options of INT8."""
    given = {**config.options.get(OPTION, {}), **options}
    return attrs.evolve(config, options={**config.options, OPTION: given})
