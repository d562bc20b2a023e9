"""The TensorRT plugin: passes, op definitions, layers and segment rules, contributed like any third party's."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import ArgDef, AttrDef, FuncRef, OpDef
from tfgraphopt.passes import Pass
from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_trt import hookspecs
from tfgraphopt_trt.engines import BuildEngines
from tfgraphopt_trt.hookspecs import SegmentRule
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import Lower
from tfgraphopt_trt.segment import ENGINE_OP, Segment
from tfgraphopt_trt.support import RULES

ENGINE_OP_DEF = OpDef(
    ENGINE_OP,
    inputs=(ArgDef("in_tensor", type_list_attr="InT"),),
    outputs=(ArgDef("out_tensor", type_list_attr="OutT"),),
    attrs=(
        AttrDef("serialized_segment", "string"),
        AttrDef("segment_func", "func", FuncRef(""), True),
        AttrDef("InT", "list(type)"),
        AttrDef("OutT", "list(type)"),
        AttrDef("input_shapes", "list(shape)", (), True),
        AttrDef("output_shapes", "list(shape)", (), True),
        AttrDef("max_cached_engines_count", "int", 1, True),
        AttrDef("max_batch_size", "int", 1, True),
        AttrDef("workspace_size_bytes", "int", 0, True),
        AttrDef("precision_mode", "string", "FP32", True),
        AttrDef("calibration_data", "string", "", True),
        AttrDef("use_calibration", "bool", True, True),
        AttrDef("profile_strategy", "string", "", True),
        AttrDef("plan_path", "string", "", True),
        AttrDef("plan_digest", "string", "", True),
        AttrDef("runtime", "string", "tensorrt", True),
        AttrDef("strict", "bool", False, True),
        AttrDef("static_engine", "bool", True, True),
    ),
    doc="Runs a TensorRT plan, or its segment_func where no plan can run.",
)


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hooks for converters, layers and segment rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_op_defs() -> Iterable[OpDef]:
    """The engine op."""
    return [ENGINE_OP_DEF]


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """segment, lower, build-engines."""
    return [Segment, Lower, BuildEngines]


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
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:
    """The engine op, and TensorRT where it can run."""
    from tfgraphopt_trt import engine_op

    return [EngineRuntime("tensorrt", engine_op.load, engine_op.counters, engine_op.reset_counters)]
