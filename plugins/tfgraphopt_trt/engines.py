"""build-engines: build a plan for every lowered segment and put it into its engine node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass, Step
from tfgraphopt.report import SegmentReport
from tfgraphopt_trt.advisors import advised_build
from tfgraphopt_trt.build import BuilderProcess, BuildOptions, BuildResult
from tfgraphopt_trt.culprits import Search, locate
from tfgraphopt_trt.engine_cache import EngineCache, cache_key, cache_of
from tfgraphopt_trt.engine_kinds import builds, this_gpu
from tfgraphopt_trt.engine_nodes import embed, lowered_calls, profiles_of, put_back, record_built, set_plan
from tfgraphopt_trt.failed_builds import recall, remember
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import LOWERED
from tfgraphopt_trt.rescue import note_step, rescue
from tfgraphopt_trt.support import LAYERS_HOOK
from tfgraphopt_trt.tensorrt_api import TensorRT, load


@attrs.frozen(slots=True)
class BuildEngines(Pass):
    """Build the engines, in a worker process.

    Where a build fails, the nodes at fault are found and kept in TensorFlow, and the rest of their segment is built; every step is
    in the report.
    """

    name: ClassVar[str] = "build-engines"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("layout", "precision", "int8")
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return builds(ctx, "tensorrt")

    def run(self, graph: Graph, ctx: Context) -> None:
        calls = lowered_calls(ctx)
        if not calls:
            return
        tensorrt = load()  # a missing TensorRT is one clear error before any work
        layers = {layer.op: layer for layer in ctx.tables.items(LAYERS_HOOK)}
        with BuilderProcess() as process:
            factory = _Factory(ctx, layers, tensorrt, process, cache_of(ctx))
            built = factory.make_all(calls, _between(ctx.steps, self))
        embed(built, ctx)


def _between(steps: Sequence[Step], last: Pass) -> tuple[Step, ...]:
    """The steps of the running pipeline that work on lowered bodies before they are built."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, Pass) and step.name == last.name:
            break
        found.append(step)
    return tuple(found)


@attrs.frozen(slots=True)
class _Factory:
    """Makes the engines of one optimisation, from the cache where it has them."""

    ctx: Context
    layers: Mapping[str, LayerDef]
    tensorrt: TensorRT
    process: BuilderProcess
    cache: EngineCache | None

    def make_all(self, calls: Sequence[Node], catch_up: Sequence[Step]) -> list[Node]:
        """Build every segment, and what can be saved of those that cannot be built; returns the calls that have engines."""
        waiting = list(calls)
        built: list[Node] = []
        while waiting:
            call = waiting.pop(0)
            self.ctx.progress(f"building {call.name}", len(built), len(built) + len(waiting) + 1)
            try:
                result = self._make(call.name)
            except ConfigError as error:
                self._refuse(error)
                put_back(call, self.ctx, str(error))
            except EngineBuildFailed as error:
                self._refuse(error)
                waiting += rescue(call, error, self.ctx, catch_up)
            else:
                set_plan(call, result.plan, result.sha256, result.shape_inputs)
                _record(self.ctx.report.segments[call.name], result)
                built.append(call)
        return built

    def _refuse(self, error: EngineBuildFailed | ConfigError) -> None:
        if self.ctx.config.strict:
            raise error

    def _make(self, name: str) -> BuildResult:
        return advised_build(name, self.ctx, _options(self.ctx.config), lambda options: self._attempt(name, options))

    def _attempt(self, name: str, options: BuildOptions) -> BuildResult:
        """Build, or find in the cache; an error says where the fault is, if that can be found out."""
        key = self._key(name, options)
        known = recall(self.cache, key, options) if self.cache is not None else None
        if known is not None:
            note_step(self.ctx, name, f"failed before: {known.what} (tfgraphopt cache rm {key[:16]} forgets it)")
            raise known
        try:
            return self._cached(name, key, options)
        except EngineBuildFailed as error:
            note_step(self.ctx, name, f"failed: {error.what}" + (f" ({_last_line(error.why)})" if error.why else ""))
            if not error.where and self._locate(name, options, error).passes:
                note_step(self.ctx, name, "it builds when it is tried again")
                return self._cached(name, key, options)
            if self.cache is not None:
                remember(self.cache, key, name, error, options)
            raise

    def _key(self, name: str, options: BuildOptions) -> str:
        gpu = "" if self.tensorrt.is_portable else this_gpu()
        return cache_key(self.ctx.module.lowered[name], profiles_of(name, self.ctx), options, self.tensorrt, gpu)

    def _cached(self, name: str, key: str, options: BuildOptions) -> BuildResult:
        def build() -> BuildResult:
            body = self.ctx.module.lowered[name]
            return self.process.build(body, self.layers, profiles_of(name, self.ctx), options)

        return build() if self.cache is None else self.cache.get_or_build(key, build, name)

    def _locate(self, name: str, options: BuildOptions, error: EngineBuildFailed) -> Search:
        """Let the error say which of the user's nodes is at fault, if building parts of the body tells."""
        profiles, body = profiles_of(name, self.ctx), self.ctx.module.lowered[name]
        self.ctx.progress(f"looking for the culprit in {name}", 0, 1)
        found = locate(body, options, error, lambda part, o: self.process.build(part, self.layers, profiles, o))
        if found.where:
            error.at(found.where)
            note_step(self.ctx, name, f"the culprit is {', '.join(found.where)} (bisected in {found.builds} builds)")
        elif not found.passes:
            note_step(self.ctx, name, "no single layer makes it fail")
        return found


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip()


def _options(config: Config) -> BuildOptions:
    return BuildOptions(
        workspace_bytes=config.max_workspace_size_bytes, timeout_seconds=config.build_timeout,
        memory_limit_bytes=config.build_memory_bytes,
        compute_capabilities=tuple(config.options.get("compute_capabilities", ())),
    )  # fmt: skip


def _record(segment: SegmentReport, result: BuildResult) -> None:
    record_built(segment, result)
    segment.details.update(
        shape_inputs=list(result.shape_inputs),
        activation_bytes=result.activation_bytes, peak_bytes=result.peak_bytes, warnings=list(result.warnings),
        dims_only_tensorrt_knew=result.ours_unknown, dims_only_we_knew=result.theirs_unknown,
    )  # fmt: skip
