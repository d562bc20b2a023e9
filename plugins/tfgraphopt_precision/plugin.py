"""The precision plugin: its pass, its hook, the shipped rules, its say in engine builds, and the prediction of accuracy."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.passes import Pass
from tfgraphopt.verification import Verification, VerifyRequest
from tfgraphopt_precision import hookspecs
from tfgraphopt_precision.advising import ADVISOR
from tfgraphopt_precision.precision import Precision
from tfgraphopt_precision.rules import PrecisionRule
from tfgraphopt_precision.shipped import RULES
from tfgraphopt_trt.advisors import BuildAdvisor


@hookimpl
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open the hook for precision rules."""
    pluginmanager.add_hookspecs(hookspecs)


@hookimpl
def tfgraphopt_passes() -> Iterable[type[Pass]]:
    """precision."""
    return [Precision]


@hookimpl
def tfgraphopt_precision_rules() -> Iterable[PrecisionRule]:
    """The shipped rules."""
    return RULES


@hookimpl(optionalhook=True)
def tfgraphopt_trt_build_advisors() -> Iterable[BuildAdvisor]:
    """Layers that TensorRT refuses go to float32; what it built is compared with the plan."""
    return [ADVISOR]


@hookimpl
def tfgraphopt_verify(request: VerifyRequest) -> Verification | None:
    """Predict the accuracy of fp32, fp16 and bf16."""
    from tfgraphopt_precision.verifying import verify

    return verify(request)
