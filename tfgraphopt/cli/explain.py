"""Say of every node whether an engine computes it, and if not, why. Builds nothing and needs no TensorRT."""

from __future__ import annotations

import argparse
from pathlib import Path

import attrs

from tfgraphopt.cli import common

HELP = "every node's verdict and reason"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_model_arguments(parser)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    parser.add_argument("--all", action="store_true", help="list converted nodes as well")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> int:
    """Judge the model and print."""
    from tfgraphopt.formats.load import load_model
    from tfgraphopt.optimize import optimize_graph_def
    from tfgraphopt.tables import reason_table, segment_table, summary_lines, verdict_table

    config = attrs.evolve(common.config_of(options), engine="none")
    with common.progress_bar() as progress:
        model = load_model(Path(options.model), options.outputs, options.signature, options.tags)
        tables = common.load_plugins(options)
        report = optimize_graph_def(model.graph_def, model.outputs, config, tables=tables, progress=progress).report
    if options.json:
        common.print_json(report.to_json())
        return 0
    console = common.console()
    console.print(segment_table(report))
    console.print(reason_table(report))
    console.print(verdict_table(report, everything=options.all))
    for line in summary_lines(report):
        console.print(line, markup=False, highlight=False)
    return 0
