"""build-engines: build a plan for every lowered segment and put it into its engine node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt.report import SegmentReport
from tfgraphopt_trt.advisors import advised_build
from tfgraphopt_trt.build import BuilderProcess, BuildOptions, BuildResult
from tfgraphopt_trt.engine_cache import EngineCache, cache_key
from tfgraphopt_trt.engine_kinds import builds
from tfgraphopt_trt.engine_nodes import embed, lowered_calls, profiles_of, put_back, set_plan
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import LOWERED
from tfgraphopt_trt.support import LAYERS_HOOK
from tfgraphopt_trt.tensorrt_api import TensorRT, load


@attrs.frozen(slots=True)
class BuildEngines(Pass):
    """Build the engines; a segment whose build fails is put back into TensorFlow, with the reason in the report."""

    name: ClassVar[str] = "build-engines"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("layout", "precision", "int8")
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return builds(ctx, "tensorrt")

    def run(self, graph: Graph, ctx: Context) -> None:
        calls = lowered_calls(graph, ctx)
        if not calls:
            return
        tensorrt = load()  # a missing TensorRT is one clear error before any work
        layers = {layer.op: layer for layer in ctx.tables.items(LAYERS_HOOK)}
        with BuilderProcess() as process:
            factory = _Factory(ctx, layers, tensorrt, process, _cache(ctx))
            for index, call in enumerate(calls):
                ctx.progress(f"building {call.name}", index, len(calls))
                self._build(call, ctx, factory)
        embed([n for n in calls if not n.is_erased], ctx)

    def _build(self, call: Node, ctx: Context, factory: _Factory) -> None:
        segment = ctx.report.segments[call.name]
        try:
            result = factory.make(call.name)
        except (EngineBuildFailed, ConfigError) as error:
            if ctx.config.strict:
                raise
            put_back(call, ctx, str(error))
            return
        set_plan(call, result.plan, result.sha256, result.shape_inputs)
        _record(segment, result)


@attrs.frozen(slots=True)
class _Factory:
    """Makes the engines of one optimisation, from the cache where it has them."""

    ctx: Context
    layers: Mapping[str, LayerDef]
    tensorrt: TensorRT
    process: BuilderProcess
    cache: EngineCache | None

    def make(self, name: str) -> BuildResult:
        return advised_build(name, self.ctx, _options(self.ctx.config), lambda options: self._make(name, options))

    def _make(self, name: str, options: BuildOptions) -> BuildResult:
        profiles, body = profiles_of(name, self.ctx), self.ctx.module.lowered[name]
        if self.cache is None:
            return self.process.build(body, self.layers, profiles, options)
        key = cache_key(body, profiles, options, self.tensorrt)
        return self.cache.get_or_build(key, lambda: self.process.build(body, self.layers, profiles, options), name)


def _cache(ctx: Context) -> EngineCache | None:
    if not ctx.config.options.get("engine_cache", True):
        return None
    try:
        return EngineCache()
    except ConfigError as error:
        ctx.report.say(f"engines are not cached: {error}")
        return None


def _options(config: Config) -> BuildOptions:
    return BuildOptions(
        workspace_bytes=config.max_workspace_size_bytes, timeout_seconds=config.build_timeout,
        compute_capabilities=tuple(config.options.get("compute_capabilities", ())),
    )  # fmt: skip


def _record(segment: SegmentReport, result: BuildResult) -> None:
    segment.status, segment.engine = "built", f"{result.flavour} {result.version}"
    segment.layers, segment.transposes = dict(result.layers), result.transposes
    segment.engine_bytes, segment.engine_digest = len(result.plan), result.sha256
    segment.build_seconds, segment.cached = result.seconds, result.cached
    segment.details.update(
        shape_inputs=list(result.shape_inputs),
        activation_bytes=result.activation_bytes, peak_bytes=result.peak_bytes, warnings=list(result.warnings),
        dims_only_tensorrt_knew=result.ours_unknown, dims_only_we_knew=result.theirs_unknown,
    )  # fmt: skip
