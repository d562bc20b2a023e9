"""The hooks that the TensorRT plugin opens: converters, layers, segment rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from tfgraphopt.config import Config
from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt.ir import Node
from tfgraphopt_trt.converter import Converter
from tfgraphopt_trt.layerdef import LayerDef


@attrs.frozen(slots=True)
class SegmentRule:
    """Keeps nodes in TensorFlow: ``check(node, config)`` gives the reason, or None when the rule does not mind."""

    name: str
    check: Callable[[Node, Config], str | None]
    overrides: str = ""


@hookspec
@contributes("converters", lambda item: isinstance(item, Converter), lambda item: item.ops)
def tfgraphopt_trt_converters() -> Iterable[Converter]:  # type: ignore[empty-body]
    """Converters: TF ops to ``trt.*`` layers, made by :func:`tfgraphopt_trt.converter`."""


@hookspec
@contributes("layers", lambda item: isinstance(item, LayerDef), lambda item: (item.op,))
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:  # type: ignore[empty-body]
    """Layers: shape rule, meaning in TensorFlow ops, and how they go into a TensorRT network."""


@hookspec
@contributes("segment rules", lambda item: isinstance(item, SegmentRule), lambda item: (item.name,))
def tfgraphopt_trt_segment_rules() -> Iterable[SegmentRule]:  # type: ignore[empty-body]
    """Rules that keep nodes out of engines, each with a reason."""
