"""Plugins that have a say in engine builds: what to ask for, what to do when the builder refuses, what to make of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.passes import Context
from tfgraphopt_trt.build_options import BuildOptions, BuildResult

ADVISORS_HOOK = "tfgraphopt_trt_build_advisors"


def _as_they_are(segment: str, ctx: Context, options: BuildOptions) -> BuildOptions:
    return options


def _no_remedy(segment: str, ctx: Context, error: EngineBuildFailed) -> bool:
    return False


def _not_interested(segment: str, ctx: Context, result: BuildResult) -> None:
    """Nothing to say."""


@attrs.frozen(slots=True)
class BuildAdvisor:
    """Has a say in the build of every TensorRT engine.

    Attributes:
        name: unique.
        options: ``options(segment, ctx, options)`` gives the options to build with.
        refused: ``refused(segment, ctx, error)`` is asked when a build fails; True says that it has changed the lowered body
            so that another attempt makes sense. It must give up at some point.
        built: ``built(segment, ctx, result)`` sees the result, the builder's table of kernels included when it was asked for.
        overrides: the plugin whose advisor of this name it replaces.
    """

    name: str
    options: Callable[[str, Context, BuildOptions], BuildOptions] = _as_they_are
    refused: Callable[[str, Context, EngineBuildFailed], bool] = _no_remedy
    built: Callable[[str, Context, BuildResult], None] = _not_interested
    overrides: str = ""


def advised_build(
    segment: str, ctx: Context, options: BuildOptions, build: Callable[[BuildOptions], BuildResult]
) -> BuildResult:
    """Build with the advice of all plugins; the error of the last attempt when none knows a remedy."""
    advisors: Iterable[BuildAdvisor] = ctx.tables.items(ADVISORS_HOOK)
    for advisor in advisors:
        options = advisor.options(segment, ctx, options)
    while True:
        try:
            result = build(options)
        except EngineBuildFailed as error:
            helper = next((advisor.name for advisor in advisors if advisor.refused(segment, ctx, error)), None)
            if helper is None:
                raise
            steps = ctx.report.segments[segment].details.setdefault("build_steps", [])
            steps.append(f"{helper} has changed the body; it is built again")
        else:
            for advisor in advisors:
                advisor.built(segment, ctx, result)
            return result
