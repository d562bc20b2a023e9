"""The plugin of the shipped converters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfgraphopt.hookspecs import hookimpl

if TYPE_CHECKING:
    from tfgraphopt_trt.converter import Converter


@hookimpl(optionalhook=True)
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """Every shipped converter."""
    from tfgraphopt_converters import all_converters

    return all_converters()
