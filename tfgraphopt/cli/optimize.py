"""Optimise a model: TensorRT engines in place of what TensorRT can compute, everything else as it was."""

from __future__ import annotations

import argparse
from pathlib import Path

from tfgraphopt.cli import common, observing

HELP = "optimise a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_model_arguments(parser)
    goes = "where the optimised model goes: a GraphDef (.pb), or the directory of a SavedModel, with all signatures unless one is named"
    parser.add_argument("-o", "--output", required=True, type=Path, help=goes)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    common.add_drawing_arguments(parser)
    common.add_json_argument(parser)
    observing.add_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Optimise and write."""
    import json

    from tfgraphopt.files import write_atomically
    from tfgraphopt.optimization import optimize
    from tfgraphopt.tables import segment_table, summary_lines

    config = common.config_of(options)
    tables = common.load_plugins(options)
    with common.progress_bar() as progress:
        observed = observing.Observed.of(options)
        outputs = [name for name in options.outputs.split(",") if name]
        result = optimize(
            options.model, outputs=outputs or None, signatures=_signatures(options), tags=options.tags.split(","), config=config,
            tables=tables, instruments=observed.instruments, progress=progress,
        )  # fmt: skip
        if _is_graph_def(options):
            write_atomically(options.output, result.graph_def.SerializeToString())
        else:
            result.save(options.output)
        observed.write_page(result, Path(options.model).name)
        written = common.write_drawings(options, result)
    tree = result.report.to_json() | observed.finish()
    if options.report:
        write_atomically(options.report, json.dumps(tree, indent=2).encode())
    if options.json:
        common.print_json(tree)
        return 0
    console = common.console()
    console.print(segment_table(result.report))
    for line in [*observed.lines(), *summary_lines(result.report), *written]:
        console.print(line, markup=False, highlight=False)
    console.print(f"written: {options.output}", markup=False, highlight=False)
    return 0


def _is_graph_def(options: argparse.Namespace) -> bool:
    return bool(options.output.suffix == ".pb")


def _signatures(options: argparse.Namespace) -> list[str] | None:
    """A GraphDef is one signature; a SavedModel keeps all, and all are optimised unless one is named."""
    named = options.signature != "serving_default"
    return [options.signature] if named or (_is_graph_def(options) and Path(options.model).is_dir()) else None
