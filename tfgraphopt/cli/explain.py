"""Say of every node whether an engine computes it, and if not, why; and what would make it better. Builds nothing, needs no TensorRT.

With ``--html FILE`` a page is written that shows the graph before and after, and needs no network. With ``--rule NAME``, say instead of
every node where a rewrite rule could begin whether it fires there, and if not, why.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common

if TYPE_CHECKING:
    from tfgraphopt.config import Config
    from tfgraphopt.explaining import RuleReport
    from tfgraphopt.explanation import Explanation

HELP = "every node's verdict and reason"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_model_arguments(parser)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    parser.add_argument(
        "--rule", metavar="NAME", help="why this rewrite rule fires or does not (tfgraphopt passes lists rules)"
    )
    parser.add_argument(
        "--node", action="append", default=[], metavar="PATTERN",
        help="tell everything about the nodes of this name (or shell pattern), their way through the passes too; repeatable",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="list converted nodes as well")
    common.add_drawing_arguments(parser)
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Judge the model and print."""
    from tfgraphopt.explanation import explain_graph_def, write_page

    config = attrs.evolve(common.config_of(options), engine="none")
    if options.rule:
        return _explain_rule(options, config)
    with common.progress_bar() as progress:
        model = common.load_model(options)
        tables = common.load_plugins(options)
        found = explain_graph_def(model.graph_def, model.outputs, config, tables=tables, progress=progress)
        if options.html is not None:
            progress("writing the page", 0, 1)
            write_page(found, options.html, Path(options.model).name)
        written = common.write_drawings(options, found.result)
    if options.json:
        common.print_json(found.to_json())
    else:
        _print(found, options, written)
    return 0


def _print(found: Explanation, options: argparse.Namespace, written: list[str]) -> None:
    from tfgraphopt.tables import (
        advice_lines,
        boundary_table,
        detail_tables,
        reason_table,
        segment_table,
        summary_lines,
        verdict_table,
    )  # fmt: skip

    console = common.console()
    if options.node:
        for line in _node_lines(found, options.node):
            console.print(line, markup=False, highlight=False)
        return
    console.print(segment_table(found.report))
    console.print(boundary_table(found))
    console.print(reason_table(found.report))
    console.print(verdict_table(found.report, everything=options.all))
    for table in detail_tables(found.report):
        console.print(table)
    written += [f"written: {options.html}"] if options.html is not None else []
    for line in [*summary_lines(found.report), *advice_lines(found.report), *written]:
        console.print(line, markup=False, highlight=False)


def _node_lines(found: Explanation, patterns: list[str]) -> list[str]:
    """All that is known of the nodes that a pattern fits."""
    import fnmatch

    chosen = [v for v in found.report.verdicts.values() if any(fnmatch.fnmatchcase(v.node, p) for p in patterns)]
    lines = [] if chosen else [f"no node is called {' or '.join(patterns)}"]
    for v in chosen:
        lines.append(f"{v.op} {v.node}: {v.status}" + (f", {v.reason}" if v.reason else ""))
        lines += [f"  engine: {v.segment}"] if v.segment else []
        lines += [f"  converter: plugin {v.converter}"] if v.converter else []
        lines += [f"  {e}" for e in dict.fromkeys(map(str, found.provenance.get(v.node, ())))]
    return lines


def _explain_rule(options: argparse.Namespace, config: Config) -> int:
    from tfgraphopt.explaining import explain_rule_in

    with common.progress_bar() as progress:
        progress("loading", 0, 1)
        model = common.load_model(options)
        tables = common.load_plugins(options)
        found = explain_rule_in(model.graph_def, model.outputs, options.rule, config, tables)
    if options.json:
        common.print_json(found.to_json())
        return 0
    console = common.console()
    console.print(_place_table(found))
    for line in _rule_lines(found):
        console.print(line, markup=False, highlight=False)
    return 0


def _place_table(found: RuleReport) -> Table:
    table = Table(title=f"rule {found.rule}, just before {found.host}")
    for name in ("graph", "node", "op", "fires", "fits", "why"):
        table.add_column(name, overflow="fold")
    for graph, places in found.places.items():
        for e in places:
            fits = f"{e.matched} of {e.size} nodes"
            table.add_row(escape(graph), escape(e.node), e.op, "yes" if e.fires else "no", fits, escape(e.reason))
    return table


def _rule_lines(found: RuleReport) -> list[str]:
    places = [e for each in found.places.values() for e in each]
    lines = [f"{len(places)} nodes could begin a match; the rule fires at {sum(e.fires for e in places)} of them"]
    if not places:
        lines = ["the model has no node that the rule could begin at (after the passes before its host)"]
    lines.append(f"{found.host} with all its rules then applied it {len(found.applied)} times")
    lines += [
        f"  at {a.root}: made {', '.join(a.made) or 'nothing'}, removed {', '.join(a.removed) or 'nothing'}"
        for a in found.applied
    ]
    if not found.default:
        lines.append(f"note: the pipeline does not contain {found.host}; it was asked where its order would put it")
    return [*lines, f"rule of plugin {found.plugin}; passes before: {found.pipeline or 'none'}"]
