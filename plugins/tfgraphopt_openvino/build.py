"""build-openvino: turn every lowered segment into an OpenVINO model, compile it as a check, and make it the node's plan.

The work is done in this process, unlike TensorRT's: a compilation takes less time than a worker's start, and is what a serving process
does with the same model in its first call. Plans are kept in the engine cache.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt_openvino.mapping import LAYERS_HOOK, OpenVinoLayer
from tfgraphopt_openvino.model import build_model
from tfgraphopt_openvino.openvino_api import NAME, OpenVino, load
from tfgraphopt_openvino.plan import Variant, pack, variants
from tfgraphopt_openvino.plan_key import PlanKeys, writers
from tfgraphopt_openvino.worth import LEAST, NotWorthIt, objection
from tfgraphopt_trt.build_options import BuildResult
from tfgraphopt_trt.engine_cache import EngineCache, cache_of
from tfgraphopt_trt.engine_kinds import builds
from tfgraphopt_trt.engine_nodes import embed, lowered_calls, profiles_of, put_back, record_built, set_plan
from tfgraphopt_trt.lower import LOWERED

_PRECISION_HINTS: Mapping[str, str] = {"fp16": "f16", "bf16": "bf16"}


@attrs.frozen(slots=True)
class BuildOpenVino(Pass):
    """Build OpenVINO engines; a segment whose model cannot be built is put back into TensorFlow, with the reason in the report.

    With ``engine="auto"`` a segment that is too small to gain is put back as well; ``engine="openvino"`` builds all.

    The option ``openvino`` of the configuration is a mapping of OpenVINO's own property names to values, for compilation.
    """

    name: ClassVar[str] = "build-openvino"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("layout", "precision", "int8")
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return builds(ctx, NAME)

    def run(self, graph: Graph, ctx: Context) -> None:
        calls = lowered_calls(ctx)
        if not calls:
            return
        factory = _factory(ctx)
        for index, call in enumerate(calls):
            ctx.progress(f"building {call.name}", index, len(calls))
            _build(call, ctx, factory)
        embed([n for n in calls if not n.is_erased], ctx)


def properties(config: Config) -> dict[str, str]:
    """OpenVINO's properties for the compilation of an engine.

    Computation is in single precision unless the caller allows less (OpenVINO's default is whatever the CPU is fastest in).
    Threads are not pinned: they share the cores with TensorFlow's.

    Raises:
        ConfigError: the option ``openvino`` is no mapping of words.
    """
    given = config.options.get(NAME, {})
    words = isinstance(given, Mapping) and all(" " not in f"{k}{v}" and f"{k}" and f"{v}" for k, v in given.items())
    if not words:
        raise ConfigError("the option 'openvino' maps OpenVINO's property names to values", why=f"{given!r} does not")
    hint = _PRECISION_HINTS.get(config.precision, "f32")
    ours = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint, "ENABLE_CPU_PINNING": "NO"}
    return {**ours, **{str(k): str(v) for k, v in given.items()}}


def _factory(ctx: Context) -> _Factory:
    openvino, given, least = load(), properties(ctx.config), LEAST if ctx.config.engine == "auto" else 0
    builder = _Builder(openvino, ctx.tables.table(LAYERS_HOOK), given, least)
    return _Factory(ctx, builder, PlanKeys(openvino, given, least, writers(ctx.tables)), cache_of(ctx))


def _build(call: Node, ctx: Context, factory: _Factory) -> None:
    try:
        result = factory.make(call.name)
    except NotWorthIt as error:
        put_back(call, ctx, str(error), "segment dropped")
        return
    except (EngineBuildFailed, ConfigError) as error:
        if ctx.config.strict:
            raise
        put_back(call, ctx, str(error))
        return
    set_plan(call, result.plan, result.sha256)
    record_built(ctx.report.segments[call.name], result)


@attrs.frozen(slots=True)
class _Factory:
    """Makes the engines of one optimisation, from the cache where it has them."""

    ctx: Context
    builder: _Builder
    keys: PlanKeys
    cache: EngineCache | None

    def make(self, name: str) -> BuildResult:
        body, profiles = self.ctx.module.lowered[name], profiles_of(name, self.ctx)

        def build() -> BuildResult:
            return self.builder.build(body, variants(body, profiles))

        return build() if self.cache is None else self.cache.get_or_build(self.keys.of(body, profiles), build, name)


@attrs.frozen(slots=True)
class _Builder:
    openvino: OpenVino
    mappings: Mapping[str, OpenVinoLayer]
    properties: Mapping[str, str]
    least: int = 0

    def build(self, body: Graph, shapes: Sequence[Variant]) -> BuildResult:
        """The plan of a lowered body; EngineBuildFailed with OpenVINO's words when it refuses the model.

        NotWorthIt when it computes less than ``least`` operations at the usual shapes.
        """
        started = time.perf_counter()
        model = build_model(body, self.mappings, self.openvino)
        plan = pack(model, body, shapes, self.properties, self.openvino)
        self._reshape(model, body, shapes[0])
        reason = objection(model, self.least)
        if reason:
            raise NotWorthIt(reason)
        self._compile(model, body, shapes[0])
        if shapes[-1] != shapes[0]:
            self._reshape(model, body, shapes[-1])
            self._compile(model, body, shapes[-1])
        layers = Counter(node.op.removeprefix("trt.") for node in body if node.op != "trt.constant")
        return BuildResult(
            plan, time.perf_counter() - started, dict(sorted(layers.items())), layers["transpose"], "OpenVINO",
            self.openvino.version,
        )  # fmt: skip

    def _reshape(self, model: Any, body: Graph, shape: Variant) -> None:
        ov = self.openvino.module
        with _refusals(body):
            model.reshape({i: ov.PartialShape([ov.Dimension(*r) for r in ranges]) for i, ranges in enumerate(shape)})

    def _compile(self, model: Any, body: Graph, shape: Variant) -> None:
        with _refusals(body):
            self.openvino.module.Core().compile_model(model, "CPU", dict(self.properties))
        if all(low == high for ranges in shape for low, high in ranges):
            _check_outputs(model, body)


@contextlib.contextmanager
def _refusals(body: Graph) -> Iterator[None]:
    """What OpenVINO raises, as the failure of a build."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise EngineBuildFailed(f"OpenVINO refuses the model of {body.name}", why=said) from error


def _check_outputs(model: Any, body: Graph) -> None:
    """Outputs are allocated before a run, so their shapes must follow from the shapes of the inputs."""
    for value, output in zip(body.outputs, model.outputs, strict=True):
        if output.get_partial_shape().is_dynamic:
            raise EngineBuildFailed(
                f"the shape of %{value.name} depends on the data", why=f"OpenVINO infers {output.get_partial_shape()}"
            )
