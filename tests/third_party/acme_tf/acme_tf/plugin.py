"""What the entry point names: hooks that return data. Hooks of plugins that may be absent are optional."""

from __future__ import annotations

from collections.abc import Iterable

from acme_tf import layer, op, rewriting, runtime
from tfgraphopt import Pass, hookimpl
from tfgraphopt.ir import OpDef
from tfgraphopt.rewrite import Pattern
from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_layout import LayoutRule
from tfgraphopt_trt.converter import Converter
from tfgraphopt_trt.layerdef import LayerDef


@hookimpl
def tfgraphopt_op_defs() -> Iterable[OpDef]:
    """The op."""
    return [op.OP]


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """The pass."""
    return [rewriting.StripChecks]


@hookimpl
def tfgraphopt_patterns() -> Iterable[Pattern]:
    """The rule."""
    return [rewriting.SoftCapFromTanh()]


@hookimpl
def tfgraphopt_pipelines() -> Iterable[tuple[str, str]]:
    """What Acme's models are optimised with."""
    inside = "lower,layout,trt-canonicalize,precision,build-engines"
    return [("acme", f"infer-types,acme-strip-checks,remove-identity,fold-constants,fuse,cse,dce,segment,{inside}")]


@hookimpl
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:
    """The op, for processes that run models."""
    return [runtime.RUNTIME]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """The converter."""
    return [layer.soft_cap]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:
    """The layer."""
    return [layer.LAYER]


@hookimpl(optionalhook=True)
def tfgraphopt_layout_rules() -> Iterable[LayoutRule]:
    """The rule of the layer."""
    return [layer.RULE]
