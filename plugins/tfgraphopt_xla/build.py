"""build-xla: turn every lowered segment into functions that must compile, and call them in the engine node's place."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Attrs, FuncRef, Graph, Node, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.regions import copy_node
from tfgraphopt_trt.engine_kinds import builds
from tfgraphopt_trt.engine_nodes import body_of, lowered_calls, profiles_of, put_back
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.lower import LOWERED
from tfgraphopt_trt.meaning import scope_of
from tfgraphopt_trt.profiles import Profile
from tfgraphopt_trt.support import LAYERS_HOOK
from tfgraphopt_xla.buckets import Buckets, buckets_of, dispatch_by_size
from tfgraphopt_xla.kind import NAME
from tfgraphopt_xla.meanings import for_xla
from tfgraphopt_xla.rows import Unproven, refine_types
from tfgraphopt_xla.settings import Settings
from tfgraphopt_xla.tracing import MUST_COMPILE, Program, constants, lowered, trace
from tfgraphopt_xla.whole import is_compiled_whole

ROWS_HOOK = "tfgraphopt_xla_row_rules"
_ANY_SIZE = "XLA would compile {} for every size that data bring"
_EACH = 'options={"xla": {"buckets": "none"}} has it compiled for each'


@attrs.frozen(slots=True)
class BuildXla(Pass):
    """Build XLA engines; a segment that XLA cannot take is put back into TensorFlow, with the reason in the report.

    Options are in ``Config.options["xla"]``: see :class:`tfgraphopt_xla.settings.Settings`.
    """

    name: ClassVar[str] = "build-xla"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("layout", "precision", "int8")
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return builds(ctx, NAME)

    def run(self, graph: Graph, ctx: Context) -> None:
        builder = _Builder(
            ctx, for_xla({layer.op: layer for layer in ctx.tables.items(LAYERS_HOOK)}), Settings.of(ctx.config)
        )
        calls = lowered_calls(ctx)
        for index, call in enumerate(calls):
            ctx.progress(f"building {call.name}", index, len(calls))
            builder.build(call)
        if is_compiled_whole(ctx.module):
            ctx.module.main.attrs[MUST_COMPILE] = True


@attrs.frozen(slots=True)
class _Builder:
    ctx: Context
    layers: Mapping[str, LayerDef]
    settings: Settings

    def build(self, call: Node) -> None:
        started = time.perf_counter()
        body = self.ctx.module.lowered[call.name]
        try:
            refine_types(body)
            profiles, buckets = self._profiles(call.name, body)
            program = self._program(body, buckets if isinstance(buckets, Buckets) else None)
            for shapes in _points(body, profiles):
                lowered(body, self.layers, shapes)
        except (EngineBuildFailed, ConfigError) as error:
            if self.ctx.config.strict:
                raise
            put_back(call, self.ctx, str(error))
            return
        self._record(call.name, body, program, buckets)
        self.ctx.report.segments[call.name].build_seconds = time.perf_counter() - started
        _replace(call, program, self.ctx)

    def _profiles(self, name: str, body: Graph) -> tuple[Sequence[Profile], Buckets | str]:
        """The profiles, and the buckets or why every shape is compiled for on its own.

        Raises:
            EngineBuildFailed: data decide about sizes, and the caller has not said that each may be compiled for.
        """
        try:
            profiles = profiles_of(name, self.ctx)
        except ConfigError as error:
            if self.settings.buckets == "none":
                return (), error.why
            raise EngineBuildFailed(_ANY_SIZE.format(name), why=error.why, hint=_EACH) from error
        try:
            return profiles, buckets_of(body, profiles, self.settings.buckets, self.ctx.tables.table(ROWS_HOOK))
        except Unproven as error:
            return profiles, str(error)

    def _program(self, body: Graph, buckets: Buckets | None) -> Program:
        dispatch = None if buckets is None else dispatch_by_size(buckets)
        return trace(body, self.layers, body.name, self._arguments(body), dispatch)

    def _arguments(self, body: Graph) -> list[Value]:
        """The weights that shall be arguments of the compiled function."""
        weights = constants(body)
        total = sum(v.type.num_bytes or 0 for v in weights)
        as_constants = total <= self.settings.max_constant_bytes
        if self.settings.weights == "constants" or (self.settings.weights == "auto" and as_constants):
            return []
        return weights

    def _record(self, name: str, body: Graph, program: Program, buckets: Buckets | str) -> None:
        import tensorflow as tf

        segment = self.ctx.report.segments[name]
        counts = Counter(node.op.rpartition(".")[2] for node in body if node.op != "trt.constant")
        segment.status, segment.engine = "built", f"XLA of TensorFlow {tf.__version__}"
        segment.layers, segment.transposes = dict(sorted(counts.items())), counts["transpose"]
        segment.engine_bytes = sum(v.type.num_bytes or 0 for v in constants(body))
        segment.engine_digest = program.digest
        found = list(buckets.sizes) if isinstance(buckets, Buckets) else []
        segment.details["xla"] = {
            "buckets": found, "compiled_per_shape": "" if found else str(buckets),
            "weights": "arguments" if program.weights else "constants",
        }  # fmt: skip


def _points(body: Graph, profiles: Sequence[Profile]) -> list[tuple[tuple[int, ...], ...]]:
    """The shapes of the inputs at the optimum of every profile."""
    if all(v.shape.is_static for v in body.inputs):
        return [tuple(v.shape.static() for v in body.inputs)]
    return list(dict.fromkeys(tuple(p[i].opt for i in range(len(body.inputs))) for p in profiles))


def _replace(call: Node, program: Program, ctx: Context) -> None:
    """A call of the program, which needs nothing but TensorFlow, in place of the engine node and its TensorFlow body."""
    graph, module, name = call.graph, ctx.module, call.name
    _keep_origins(program, module.lowered[name], call.origin)
    for function in program.functions:
        module.add_function(function)
    weights = [
        graph.add("Const", [], {"value": t, "dtype": t.dtype}, name=f"{name}/weight_{i}", before=call, types=[t.type])
        for i, t in enumerate(program.weights)
    ]
    operands = [*call.inputs, *(w.output for w in weights)]
    attributes: Attrs = {
        "f": FuncRef(program.entry.name), "Tin": tuple(v.dtype for v in operands),
        "Tout": tuple(v.dtype for v in call.outputs), "config": "", "config_proto": "", "executor_type": "",
    }  # fmt: skip
    made = graph.add(
        "PartitionedCall", operands, attributes, name=f"{name}/call", control=call.control, before=call,
        device=call.device, origin=call.origin, types=[v.type for v in call.outputs],
    )  # fmt: skip
    _take_over(call, made)
    module.functions.pop(body_of(call))
    module.lowered.pop(name)
    graph.erase(call)  # which gives its name free
    named = copy_node(graph, made, made.inputs, made.control, before=made, name=name)
    _take_over(made, named)
    graph.erase(made)


def _keep_origins(program: Program, body: Graph, whole: tuple[str, ...]) -> None:
    """Let every node of ``program`` come from the nodes of the layer whose name scope it is in; else from the ``whole`` segment."""
    layers = {scope_of(n.name): n.origin for n in body if n.origin}
    for function in program.functions:
        for node in function:
            parts = node.name.split("/")
            scopes = ("/".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
            node.origin = next((layers[s] for s in scopes if s in layers), whole)


def _take_over(old: Node, new: Node) -> None:
    """Let ``new`` stand for ``old`` wherever it is read or waited for."""
    graph = old.graph
    for mine, other in zip(old.outputs, new.outputs, strict=True):
        mine.replace_uses(other)
    for user in old.control_users:
        user.set_control(new if c is old else c for c in user.control)
    if graph.keeps(old):
        graph.set_keep({key: new if node is old else node for key, node in graph.keep.items()})
