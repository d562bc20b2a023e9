"""The plugin of the shipped converters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tfgraphopt.hookspecs import hookimpl

if TYPE_CHECKING:
    from tfgraphopt.ir import OpDef
    from tfgraphopt.rewrite import Pattern
    from tfgraphopt_trt.converter import Converter


@hookimpl
def tfgraphopt_op_defs() -> Iterable[OpDef]:
    """The composite ops, which exist only between a body and its layers, and what is known of TensorFlow's own."""
    from tfgraphopt_converters import cudnn
    from tfgraphopt_converters.composites.ops import OP_DEFS

    return [*OP_DEFS, *cudnn.op_defs()]


@hookimpl
def tfgraphopt_patterns() -> Iterable[Pattern]:
    """The rules of lower: what TensorRT has one layer for."""
    from tfgraphopt_converters import composites

    return composites.all_patterns()


@hookimpl(optionalhook=True)
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """Every shipped converter."""
    from tfgraphopt_converters import all_converters

    return all_converters()
