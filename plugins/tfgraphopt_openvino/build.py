"""build-openvino: turn every lowered segment into an OpenVINO model, compile it as a check, and make it the node's plan."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph, Node
from tfgraphopt.passes import Context, Pass
from tfgraphopt.report import SegmentReport
from tfgraphopt_openvino.mapping import OpenVinoLayer
from tfgraphopt_openvino.model import build_model
from tfgraphopt_openvino.openvino_api import OpenVino, load
from tfgraphopt_openvino.plan import Variant, pack, variants
from tfgraphopt_openvino.worth import NotWorthIt, objection
from tfgraphopt_trt.engine_kinds import builds
from tfgraphopt_trt.engine_nodes import embed, lowered_calls, profiles_of, put_back, set_plan
from tfgraphopt_trt.lower import LOWERED

NAME = "openvino"
LAYERS_HOOK = "tfgraphopt_openvino_layers"
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
        choosy = ctx.config.engine == "auto"
        builder = _Builder(load(), ctx.tables.table(LAYERS_HOOK), properties(ctx.config), choosy)
        for index, call in enumerate(calls):
            ctx.progress(f"building {call.name}", index, len(calls))
            _build(call, ctx, builder)
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


def _build(call: Node, ctx: Context, builder: _Builder) -> None:
    segment = ctx.report.segments[call.name]
    try:
        started = time.perf_counter()
        body = ctx.module.lowered[call.name]
        plan = builder.plan(body, variants(body, profiles_of(call.name, ctx)))
        segment.build_seconds = time.perf_counter() - started
    except NotWorthIt as error:
        put_back(call, ctx, str(error), "segment dropped")
        return
    except (EngineBuildFailed, ConfigError) as error:
        if ctx.config.strict:
            raise
        put_back(call, ctx, str(error))
        return
    digest = hashlib.sha256(plan).hexdigest()
    set_plan(call, plan, digest)
    _record(segment, body, plan, digest, builder.openvino)


@attrs.frozen(slots=True)
class _Builder:
    openvino: OpenVino
    mappings: Mapping[str, OpenVinoLayer]
    properties: Mapping[str, str]
    choosy: bool = False

    def plan(self, body: Graph, shapes: Sequence[Variant]) -> bytes:
        """The plan of a lowered body; EngineBuildFailed with OpenVINO's words when it refuses the model.

        With ``engine="auto"``, NotWorthIt when TensorFlow is as fast.
        """
        model = build_model(body, self.mappings, self.openvino)
        plan = pack(model, body, shapes, self.properties, self.openvino)
        self._check(model, body, shapes[0])
        reason = objection(model) if self.choosy else None
        if reason:
            raise NotWorthIt(reason)
        if shapes[-1] != shapes[0]:
            self._check(model, body, shapes[-1])
        return plan

    def _check(self, model: Any, body: Graph, shape: Variant) -> None:
        ov = self.openvino.module
        try:
            model.reshape({i: ov.PartialShape([_dimension(ov, r) for r in ranges]) for i, ranges in enumerate(shape)})
            ov.Core().compile_model(model, "CPU", dict(self.properties))
        except RuntimeError as error:
            raise EngineBuildFailed(
                f"OpenVINO refuses the model of {body.name}", why=str(error).strip().splitlines()[-1]
            ) from error
        if all(low == high for ranges in shape for low, high in ranges):
            _check_outputs(model, body)


def _dimension(ov: Any, limits: tuple[int, int]) -> Any:
    return ov.Dimension(*limits)


def _check_outputs(model: Any, body: Graph) -> None:
    """Outputs are allocated before a run, so their shapes must follow from the shapes of the inputs."""
    for value, output in zip(body.outputs, model.outputs, strict=True):
        if output.get_partial_shape().is_dynamic:
            raise EngineBuildFailed(
                f"the shape of %{value.name} depends on the data", why=f"OpenVINO infers {output.get_partial_shape()}"
            )


def _record(segment: SegmentReport, body: Graph, plan: bytes, digest: str, openvino: OpenVino) -> None:
    counts = Counter(node.op.removeprefix("trt.") for node in body if node.op != "trt.constant")
    segment.status, segment.engine = "built", f"OpenVINO {openvino.version}"
    segment.layers, segment.transposes = dict(sorted(counts.items())), counts["transpose"]
    segment.engine_bytes, segment.engine_digest = len(plan), digest
