"""What a caller may set: ``Config(options={"xla": {...}})``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError

OPTIONS = "xla"
LAYOUTS = ("channels_last", "as_lowered")
POINTWISE = ("auto", "convolution", "product")
WEIGHTS = ("auto", "constants", "arguments")
BUCKETS = ("powers", "profiles", "none")


def _one_of(choices: Sequence[str]) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ConfigError(
                f"options[{OPTIONS!r}][{attribute.name!r}] is {value!r}", hint=f"choose one of {', '.join(choices)}"
            )

    return check


def _check_buckets(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, tuple):
        if not value or not all(isinstance(v, int) and v >= 1 for v in value):
            raise ConfigError(f"options[{OPTIONS!r}]['buckets'] are batch sizes of at least 1, not {value!r}")
        return
    _one_of(BUCKETS)(instance, attribute, value)


def _tuple_of_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(slots=True)
class Settings:
    """Options of the XLA engine.

    Attributes:
        layout: ``channels_last``, or ``as_lowered`` (N,C,spatial with the transposes that are left).
        pointwise: what convolutions of one element (1x1) become, channels last: ``convolution``, matrix ``product``, or ``auto``: a
            product when the result has, at the optimum of the profile, at most ``max_product_rows`` elements and takes at most
            ``max_product_work`` multiplications. Larger ones gain more from the bias, the addition and the activation that cuDNN
            computes with a convolution.
        max_product_rows: see ``pointwise``.
        max_product_work: see ``pointwise``.
        weights: ``constants`` of the compiled function, ``arguments`` of it, or ``auto``: constants up to ``max_constant_bytes`` an
            engine. As constants they are laid out while XLA compiles, but each batch size has a copy of them on the GPU.
        max_constant_bytes: see ``weights``. XLA's own limit is 2 GB a program.
        buckets: batch sizes to pad to: ``powers`` (of two) between the smallest and the largest batch of the profiles, with the
            profiles' own; ``profiles`` only; a list; or ``none``: every size is compiled for on its own.
    """

    layout: str = attrs.field(default="channels_last", validator=_one_of(LAYOUTS))
    pointwise: str = attrs.field(default="auto", validator=_one_of(POINTWISE))
    max_product_rows: int = 8192
    max_product_work: int = 2**29
    weights: str = attrs.field(default="auto", validator=_one_of(WEIGHTS))
    max_constant_bytes: int = 1_000_000_000
    buckets: str | tuple[int, ...] = attrs.field(
        default="powers", converter=_tuple_of_list, validator=_check_buckets
    )  # fmt: skip

    @classmethod
    def of(cls, config: Config) -> Settings:
        """The settings in ``config``.

        Raises:
            ConfigError: an option is unknown or has a value that it does not take.
        """
        given = config.options.get(OPTIONS, {})
        known = [field.name for field in attrs.fields(cls)]
        if not isinstance(given, Mapping) or not set(given) <= set(known):
            raise ConfigError(f"options[{OPTIONS!r}] is {given!r}", hint=f"it holds any of {', '.join(known)}")
        return cls(**given)
