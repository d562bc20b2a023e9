"""The TensorRT plugin: passes, op definitions, layers and segment rules, contributed like any third party's."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.caches import ManagedCache
from tfgraphopt.diagnosis import Diagnosis
from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import Graph, OpDef
from tfgraphopt.passes import Context, Pass
from tfgraphopt.report import Advice
from tfgraphopt.rewrite import Pattern
from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_trt import engine_nodes, hookspecs
from tfgraphopt_trt.canonicalize import CanonicalizeLayers
from tfgraphopt_trt.engine_kinds import TENSORRT
from tfgraphopt_trt.engine_ops import OPS
from tfgraphopt_trt.engines import BuildEngines
from tfgraphopt_trt.hookspecs import EngineKind, SegmentRule
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import Lower
from tfgraphopt_trt.restore import RestoreEngines
from tfgraphopt_trt.segment import Segment
from tfgraphopt_trt.support import RULES


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hooks for converters, layers and segment rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_op_defs() -> Iterable[OpDef]:
    """The engine ops."""
    return [engine_nodes.op_def(name) for name in OPS]


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """restore-engines, segment, lower, trt-canonicalize, build-engines."""
    return [RestoreEngines, Segment, Lower, CanonicalizeLayers, BuildEngines]


@hookimpl
def tfgraphopt_patterns() -> Iterable[Pattern]:
    """The rules of trt-canonicalize."""
    from tfgraphopt_trt.simplify import all_patterns

    return all_patterns()


@hookimpl
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:
    """The shipped layers."""
    from tfgraphopt_trt.layers import all_layers

    return all_layers()


@hookimpl
def tfgraphopt_trt_segment_rules() -> Iterable[SegmentRule]:
    """The shipped rules."""
    return RULES


@hookimpl
def tfgraphopt_trt_engines() -> Iterable[EngineKind]:
    """TensorRT."""
    return [TENSORRT]


@hookimpl
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:
    """The engine op, and TensorRT where it is installed."""
    from tfgraphopt_trt.engine_runtime import RUNTIME

    return [RUNTIME]


@hookimpl
def tfgraphopt_caches() -> Iterable[ManagedCache]:
    """Built engines, and kernels that TensorRT for RTX compiled."""
    from tfgraphopt_trt import engine_cache, kernel_cache

    return [engine_cache.managed(), kernel_cache.managed()]


@hookimpl
def tfgraphopt_diagnoses() -> Iterable[Diagnosis]:
    """TensorRT, engines, their cache."""
    from tfgraphopt_trt.doctoring import DIAGNOSES

    return DIAGNOSES


@hookimpl
def tfgraphopt_advice(step: Pass, graph: Graph, ctx: Context) -> Iterable[Advice] | None:
    """What would make fewer or larger engines."""
    if not isinstance(step, Segment):
        return None
    from tfgraphopt_trt.advice import advise

    return advise(step, graph, ctx)
