"""The INT8 plugin: its passes, hooks, converters, calibration and recording ops, contributed like any third party's."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.calibration import Calibration
from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass
from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt.verification import Verification, VerifyRequest
from tfgraphopt_int8 import hookspecs
from tfgraphopt_int8.auditing import ADVISOR
from tfgraphopt_int8.calibrators import CALIBRATORS, Calibrator
from tfgraphopt_int8.int8 import Int8
from tfgraphopt_int8.qat import CONVERTERS
from tfgraphopt_int8.rules import LAYERS, RULES, QuantRule, WeightedLayer
from tfgraphopt_int8.sources import NoteTensors
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.converter import Converter


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hooks for calibrators, weighted layers and rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """int8-note-tensors, int8."""
    return [NoteTensors, Int8]


@hookimpl
def tfgraphopt_int8_calibrators() -> Iterable[Calibrator]:
    """minmax, moving-average, percentile, entropy, mse."""
    return CALIBRATORS


@hookimpl
def tfgraphopt_int8_layers() -> Iterable[WeightedLayer]:
    """Convolutions, deconvolutions and matrix products."""
    return LAYERS


@hookimpl
def tfgraphopt_int8_rules() -> Iterable[QuantRule]:
    """The shipped rules."""
    return RULES


@hookimpl(optionalhook=True)
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """FakeQuant* and QuantizeAndDequantize*."""
    return CONVERTERS


@hookimpl(optionalhook=True)
def tfgraphopt_trt_build_advisors() -> Iterable[BuildAdvisor]:
    """What TensorRT built is compared with the plan."""
    return [ADVISOR]


@hookimpl
def tfgraphopt_verify(request: VerifyRequest) -> Verification | None:
    """Predict the accuracy of int8."""
    from tfgraphopt_int8.verifying import verify

    return verify(request)


@hookimpl
def tfgraphopt_calibrations() -> Iterable[Calibration]:
    """Calibration for INT8."""
    from tfgraphopt_int8.calibrating import CALIBRATION

    return [CALIBRATION]


@hookimpl
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:
    """The ops of calibration graphs; they run no engines and count nothing."""
    from tfgraphopt_int8.recording import RUNTIME

    return [RUNTIME]
