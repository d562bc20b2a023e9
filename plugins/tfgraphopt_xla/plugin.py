"""The XLA plugin: passes, an engine kind, layers that work channels last, rules, contributed like any third party's."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass
from tfgraphopt_trt.hookspecs import EngineKind, LayerRule, SegmentRule
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_xla import hookspecs
from tfgraphopt_xla.build import BuildXla
from tfgraphopt_xla.channels_last import ChannelsLast
from tfgraphopt_xla.kind import KIND
from tfgraphopt_xla.layers import LAYERS
from tfgraphopt_xla.row_rules import all_rules
from tfgraphopt_xla.rows import RowRule
from tfgraphopt_xla.support import SEGMENT_RULES, layer_rules


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hook for row rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """channels-last, build-xla."""
    return [ChannelsLast, BuildXla]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_engines() -> Iterable[EngineKind]:
    """XLA, which ``auto`` takes on a GPU."""
    return [KIND]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:
    """Convolution and pooling on channels-last tensors."""
    return LAYERS


@hookimpl(optionalhook=True)
def tfgraphopt_trt_segment_rules() -> Iterable[SegmentRule]:
    """Nothing whose sizes depend on data."""
    return SEGMENT_RULES


@hookimpl(optionalhook=True)
def tfgraphopt_trt_layer_rules() -> Iterable[LayerRule]:
    """Only layers that XLA has kernels for."""
    return layer_rules()


@hookimpl
def tfgraphopt_xla_row_rules() -> Iterable[RowRule]:
    """The rules of the shipped layers."""
    return all_rules()
