"""The plugin's say in engine builds: layers that TensorRT refuses go to float32, and what it built is compared with the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import DType, Graph
from tfgraphopt.passes import Context
from tfgraphopt_precision.costs import PRODUCTS
from tfgraphopt_precision.modes import mode_of
from tfgraphopt_precision.plan import FLOAT32, LayerPrecision, PrecisionPlan
from tfgraphopt_precision.precision import STATES, State, decider_of, impose, record
from tfgraphopt_precision.rewriting import rewrite
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.build_log import LayerRow
from tfgraphopt_trt.build_options import BuildOptions, BuildResult
from tfgraphopt_trt.builder_process import BuilderDied
from tfgraphopt_trt.emit import EmitError

_KINDS: Mapping[DType, str] = {DType.HALF: "Half", DType.BFLOAT16: "BFloat16"}
"""What the builder's table calls the low types."""


def _state(segment: str, ctx: Context) -> State | None:
    states: dict[str, State] = ctx.facts.get(STATES, {})
    return states.get(segment)


def _options(segment: str, ctx: Context, options: BuildOptions) -> BuildOptions:
    """Ask for the table of kernels where a plan is to be audited."""
    state = _state(segment, ctx)
    return attrs.evolve(options, layer_table=True) if state is not None and state.settings.audit else options


# -- refusals ------------------------------------------------------------------------------------------------------------


def _refused(segment: str, ctx: Context, error: EngineBuildFailed) -> bool:
    """Put the layers that the error names into float32, or the whole segment when it names none or it was tried often."""
    state = _state(segment, ctx)
    if state is None or not state.plan.low or state.attempts > state.settings.attempts:
        return False
    guilty = _named(state.plan, error)
    if not guilty and (_is_exhaustion(error) or _names_planned(state.plan, error)):
        return False  # float32 needs no less time or memory; or what it names is in float32 already
    state.attempts += 1
    last = not guilty or state.attempts > state.settings.attempts
    reason = (error.why or error.what).strip().splitlines()[0]
    chosen = state.plan.low if last else guilty
    for name in chosen:
        old = state.plan.layers[name]
        state.pins[name] = attrs.evolve(old, precision=FLOAT32, reason=f"TensorRT: {reason}", origin="builder")
    what = "all its layers" if last else ", ".join(chosen)
    ctx.report.say(f"{segment}: TensorRT refused {state.plan.mode}; built again with {what} in float32 ({reason})")
    _impose_again(ctx.module.lowered[segment], state, ctx)
    return True


def _is_exhaustion(error: EngineBuildFailed) -> bool:
    """Whether the builder ran out of time or memory, which another precision would not change."""
    return isinstance(error, BuilderDied) and error.reason in ("timeout", "memory")


def _named(plan: PrecisionPlan, error: EngineBuildFailed) -> tuple[str, ...]:
    """The low layers that an error is about."""
    if isinstance(error, EmitError) and error.node in plan.layers:
        return (error.node,) if error.node in plan.low else ()
    nodes = set(error.where)
    return tuple(name for name in plan.low if nodes & {name, *plan.layers[name].nodes})


def _names_planned(plan: PrecisionPlan, error: EngineBuildFailed) -> bool:
    """Whether an error is about layers of the plan at all."""
    nodes = set(error.where)
    return any(nodes & {name, *layer.nodes} for name, layer in plan.layers.items())


def _impose_again(graph: Graph, state: State, ctx: Context) -> None:
    """The plan with the pins: from the original body, unless another pass has worked on the body since."""
    if graph.version == state.version:
        mode = mode_of(state.plan.mode)
        decider = decider_of(graph.name, mode, state.settings, ctx.tables, state.pins)
        state.plan = decider.decide(state.original)
        impose(graph, state, ctx)
        return
    state.plan = attrs.evolve(state.plan, layers={**state.plan.layers, **state.pins})
    rewrite(graph, graph, dict.fromkeys(state.pins, DType.FLOAT), [mode_of(state.plan.mode).dtype])
    record(graph, state, ctx)


# -- audit ---------------------------------------------------------------------------------------------------------------


def _built(segment: str, ctx: Context, result: BuildResult) -> None:
    """Compare the builder's table of kernels with the plan; what differs goes into the report."""
    state = _state(segment, ctx)
    if state is None:
        return
    found = audit(state.plan, result.table)
    ctx.report.segments[segment].details["precision"]["audit"] = found
    if found["kernels"] == 0 and state.settings.audit:
        ctx.report.say(
            f"{segment}: the builder gave no table of kernels; its precisions could not be compared with the plan"
        )
    for mismatch in found["mismatches"]:
        ctx.report.say(f"{segment}: {mismatch}")


def audit(plan: PrecisionPlan, rows: Sequence[LayerRow]) -> dict[str, Any]:
    """Compare a plan with the kernels that TensorRT made.

    Checked are the layers that do the arithmetic (convolutions and products): a kernel that TensorRT says comes from their
    nodes must read or write the planned type. Layers fused into others leave no type of their own.

    Returns:
        JSON data: number of kernels, kernels by the types they read, layers confirmed, layers that no kernel names, mismatches.
    """
    low = _KINDS[mode_of(plan.mode).dtype]
    kinds = _kinds_by_node(rows)
    checked = {name: layer for name, layer in plan.layers.items() if layer.op in PRODUCTS}
    seen = {name: _seen(layer, kinds) for name, layer in checked.items()}
    mismatches = [_mismatch(name, checked[name], low, found) for name, found in seen.items() if found]
    return {
        "kernels": len(rows), "kernels_by_type": dict(Counter(t for row in rows for t in sorted(set(row.input_types)))),
        "confirmed": sum(bool(found) for found in seen.values()) - sum(m is not None for m in mismatches),
        "not_named": [name for name, found in seen.items() if not found], "mismatches": [m for m in mismatches if m],
    }  # fmt: skip


def _kinds_by_node(rows: Iterable[LayerRow]) -> dict[str, set[str]]:
    """The element types of all kernels that come from a node, by the node's name."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for node in row.metadata.replace("\x1f", ";").split(";"):
            found.setdefault(node, set()).update(row.input_types, row.output_types)
    return found


def _seen(layer: LayerPrecision, kinds: Mapping[str, set[str]]) -> set[str]:
    return set().union(*(kinds.get(node, set()) for node in layer.nodes))


def _mismatch(name: str, layer: LayerPrecision, low: str, found: set[str]) -> str | None:
    planned = low if layer.precision != FLOAT32 else "Float"
    if planned in found or "Int8" in found:  # the INT8 plugin has quantised it, and audits that itself
        return None
    return f"{name} was planned in {layer.precision}, but its kernels work in {', '.join(sorted(found))}"


ADVISOR = BuildAdvisor("precision", _options, _refused, _built)
