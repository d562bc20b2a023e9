"""The hooks that the TensorRT plugin opens: converters, layers, rules that keep nodes out of engines, kinds of engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from tfgraphopt.config import Config
from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt.ir import Node
from tfgraphopt.plugins import Tables
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.converter import Converter
from tfgraphopt_trt.layerdef import LayerDef


@attrs.frozen(slots=True)
class SegmentRule:
    """Keeps nodes in TensorFlow: ``check(node, config)`` gives the reason, or None when the rule does not mind.

    ``config.engine`` is the kind of engine that was chosen, never ``auto``.
    """

    name: str
    check: Callable[[Node, Config], str | None]
    overrides: str = ""


@attrs.frozen(slots=True)
class LayerRule:
    """Keeps nodes in TensorFlow whose layers an engine cannot run: ``check(layer, config, tables)`` gives the reason, or None.

    ``layer`` is a node of the converter's own small graph; ``config.engine`` is the kind of engine that was chosen.
    """

    name: str
    check: Callable[[Node, Config, Tables], str | None]
    overrides: str = ""


@attrs.frozen(slots=True)
class EngineKind:
    """One way to run segments.

    Attributes:
        name: what the option ``engine`` calls it.
        op: the op of its nodes: ``TRTEngineOp``, or ``TfgraphoptEngineOp`` for everything that is not TensorRT.
        runtime: the engine runtime that its nodes name.
        device: where its nodes run when the model does not say (TensorFlow decides when empty).
        unusable: why it cannot run on this machine, or None when it can.
        rank: ``engine="auto"`` takes the usable kind of the highest rank.
        prefix: what the names of its nodes begin with; ``op`` when empty.
        int8_weights: the largest magnitude of 8-bit weights. Integer kernels that add pairs of products in 16 bits need 64.
    """

    name: str
    op: str
    runtime: str
    unusable: Callable[[], str | None]
    device: str = ""
    rank: int = 0
    prefix: str = ""
    int8_weights: int = 127
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


@hookspec
@contributes("layer rules", lambda item: isinstance(item, LayerRule), lambda item: (item.name,))
def tfgraphopt_trt_layer_rules() -> Iterable[LayerRule]:  # type: ignore[empty-body]
    """Rules that keep nodes out of engines for the layers that they become."""


@hookspec
@contributes("engine kinds", lambda item: isinstance(item, EngineKind), lambda item: (item.name,))
def tfgraphopt_trt_engines() -> Iterable[EngineKind]:  # type: ignore[empty-body]
    """Kinds of engines; the pass that builds one applies when :func:`tfgraphopt_trt.engine_kinds.chosen_kind` is its own."""


@hookspec
@contributes("build advisors", lambda item: isinstance(item, BuildAdvisor), lambda item: (item.name,))
def tfgraphopt_trt_build_advisors() -> Iterable[BuildAdvisor]:  # type: ignore[empty-body]
    """Who has a say in the builds of TensorRT engines: options, remedies for refused layers, a look at the result."""
