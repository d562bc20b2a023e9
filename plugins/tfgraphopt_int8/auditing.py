"""The plugin's say in engine builds: the builder's own table of kernels is read back and compared with the plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import attrs

from tfgraphopt.passes import Context
from tfgraphopt_int8.int8 import PLANS
from tfgraphopt_int8.plan import Int8Plan
from tfgraphopt_int8.sites import LayerPlan
from tfgraphopt_trt.advisors import BuildAdvisor
from tfgraphopt_trt.build_log import LayerRow
from tfgraphopt_trt.build_options import BuildOptions, BuildResult

_INT8 = "Int8"


def _plan(segment: str, ctx: Context) -> Int8Plan | None:
    plans: dict[str, Int8Plan] = ctx.facts.get(PLANS, {})
    return plans.get(segment)


def _options(segment: str, ctx: Context, options: BuildOptions) -> BuildOptions:
    return options if _plan(segment, ctx) is None else attrs.evolve(options, layer_table=True)


def _built(segment: str, ctx: Context, result: BuildResult) -> None:
    plan = _plan(segment, ctx)
    if plan is None:
        return
    found = audit(plan, result.table)
    ctx.report.segments[segment].details["int8"]["audit"] = found
    if not found["kernels"]:
        ctx.report.say(
            f"{segment}: the builder gave no table of kernels; whether they compute with integers is not known"
        )
    for name, kinds in found["not_integer"].items():
        ctx.report.say(
            f"{segment}: {name} was planned in int8, but its kernels read {', '.join(kinds) or 'nothing known'}"
        )


def audit(plan: Int8Plan, rows: Sequence[LayerRow]) -> dict[str, Any]:
    """Compare a plan with the kernels that TensorRT made.

    Returns:
        JSON data: number of kernels; kernels by the types that they read; layers planned in int8 of which a kernel reads int8;
        those whose kernels all read something else, with what; those that no kernel names.
    """
    seen = {name: _read(layer, rows) for name, layer in plan.layers.items() if layer.quantised}
    return {
        "kernels": len(rows), "kernels_by_type": dict(Counter(t for row in rows for t in sorted(set(row.input_types)))),
        "integer": [name for name, kinds in seen.items() if _INT8 in kinds],
        "not_integer": {name: sorted(kinds) for name, kinds in seen.items() if kinds and _INT8 not in kinds},
        "not_named": [name for name, kinds in seen.items() if not kinds],
    }  # fmt: skip


def _read(layer: LayerPlan, rows: Sequence[LayerRow]) -> set[str]:
    """The types that the kernels made of a layer read."""
    nodes = set(layer.nodes)
    return {t for row in rows if nodes & set(row.metadata.replace("\x1f", ";").split(";")) for t in row.input_types}


ADVISOR = BuildAdvisor("int8", _options, built=_built)
