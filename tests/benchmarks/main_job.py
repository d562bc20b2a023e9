"""The main job's table: per model nodes, segments, coverage, layers, transposes, engine, build, error, optimiser seconds.

``PYTHONPATH=tests python -m benchmarks.main_job [--no-cache] [MODEL ...]``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from main_job.jobs import lowered_errors
from main_job.test_models import KERAS, RANGES
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
from zoo import keras_models, pretrained
from zoo.frozen import FrozenModel

COLUMNS = (
    "model", "nodes", "segments", "in engines", "layers", "transposes", "engine MB", "build s", "error", "optimiser s",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Optimise the models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[*KERAS, *pretrained.NAMES])
    parser.add_argument("--no-cache", action="store_true", help="build every engine anew")
    options = parser.parse_args(arguments)
    table = Table(title="the main job (max batch 16, FP32, TensorRT for RTX)")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right")
    for name in options.models:
        model = pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)
        table.add_row(*row(model, cache=not options.no_cache))
    Console(width=130).print(table)


def row(model: FrozenModel, *, cache: bool) -> tuple[str, ...]:
    """One row of the table."""
    ranges = {model.inputs[0].name: RANGES[model.name]} if model.name in RANGES else {}
    config = tgo.Config(max_batch_size=16, input_shapes=ranges, options={"engine_cache": cache})
    result = tgo.optimize_graph_def(model.graph_def, model.outputs, config)
    report = result.report
    segments = list(report.segments.values())
    inside = sum(v.status in ("converted", "simplified") for v in report.verdicts.values())
    errors = lowered_errors(result, model.graph_def, model.feeds(2))
    return (
        model.name, str(report.nodes), str(len(segments)), f"{inside}/{len(report.verdicts)}",
        str(sum(sum(s.layers.values()) for s in segments)), str(sum(s.transposes or 0 for s in segments)),
        f"{sum(s.engine_bytes for s in segments) / 1e6:.2f}", f"{sum(s.build_seconds for s in segments):.1f}",
        f"{max(errors.values()):.1e}", f"{report.seconds - report.build_seconds:.1f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
