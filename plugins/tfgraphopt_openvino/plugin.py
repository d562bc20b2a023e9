"""The OpenVINO plugin: a pass, an engine kind, rules, mappings and a runtime, contributed like any third party's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pluggy

from tfgraphopt.diagnosis import Diagnosis, Finding
from tfgraphopt.errors import MissingDependency
from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass
from tfgraphopt.plugins import Tables
from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_openvino import hookspecs, openvino_api
from tfgraphopt_openvino.build import BuildOpenVino
from tfgraphopt_openvino.layers.quantisation import INT8_WEIGHTS
from tfgraphopt_openvino.mapping import OpenVinoLayer
from tfgraphopt_openvino.openvino_api import NAME
from tfgraphopt_openvino.rules import LAYER_RULES, SEGMENT_RULES
from tfgraphopt_trt.hookspecs import EngineKind, LayerRule, SegmentRule


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hook for mappings of layers."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """build-openvino."""
    return [BuildOpenVino]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_engines() -> Iterable[EngineKind]:
    """OpenVINO on the CPU. Without VNNI its integer kernels add pairs of products in 16 bits."""
    kind = EngineKind(
        NAME, "TfgraphoptEngineOp", NAME, openvino_api.unusable, device="/device:CPU:0", rank=20, int8_weights=INT8_WEIGHTS
    )  # fmt: skip
    return [kind]


@hookimpl(optionalhook=True)
def tfgraphopt_trt_segment_rules() -> Iterable[SegmentRule]:
    """No 64-bit arithmetic."""
    return SEGMENT_RULES


@hookimpl(optionalhook=True)
def tfgraphopt_trt_layer_rules() -> Iterable[LayerRule]:
    """Only layers that have a mapping."""
    return LAYER_RULES


@hookimpl
def tfgraphopt_openvino_layers() -> Iterable[OpenVinoLayer]:
    """The mappings of the shipped layers."""
    from tfgraphopt_openvino.layers import all_layers

    return all_layers()


@hookimpl
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:
    """The engine op, and OpenVINO where it is installed."""
    from tfgraphopt_openvino.engine_runtime import RUNTIME

    return [RUNTIME]


@hookimpl
def tfgraphopt_diagnoses() -> Iterable[Diagnosis]:
    """Whether OpenVINO is installed."""
    return [Diagnosis(NAME, _check)]


def _check(tables: Tables) -> Iterator[Finding]:
    hint = 'pip install "tfgraphopt[openvino]"'
    if openvino_api.package() is None:
        yield Finding("OpenVINO", "missing", "not installed: no CPU engines", hint)
        return
    try:
        version = openvino_api.load().version
    except MissingDependency as error:
        yield Finding("OpenVINO", "problem", error.why, f"{hint} again")
    else:
        yield Finding("OpenVINO", "ok", f"{version}, for the CPU")
