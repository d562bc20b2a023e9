"""List the passes: options with their defaults, ordering, and the default pipeline."""

from __future__ import annotations

import argparse
from typing import Any

import attrs
from rich.table import Table

from tfgraphopt.cli import common

HELP = "list passes and the default pipeline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_plugin_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Print the passes of the loaded plugins."""
    from tfgraphopt.config import Config
    from tfgraphopt.optimize import pipeline_of

    tables = common.load_plugins(options)
    rows = [describe(item) for item in tables.items("tfgraphopt_passes")]
    default = str(pipeline_of(Config(), tables))
    if options.json:
        common.print_json({"passes": rows, "default_pipeline": default})
        return 0
    table = Table(title="passes")
    for name in ("pass", "does", "options", "order"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(row["name"], row["doc"], "\n".join(f"{k}={v}" for k, v in row["options"].items()), _order(row))
    console = common.console()
    console.print(table)
    console.print(f"default pipeline: {default}", markup=False, highlight=False)
    return 0


def describe(item: Any) -> dict[str, Any]:
    """What there is to know about a pass class, as data."""
    from tfgraphopt.pipeline import format_value

    step = item()
    return {
        "name": item.name,
        "doc": (item.__doc__ or "").strip().splitlines()[0],
        "options": {f.name.replace("_", "-"): format_value(getattr(step, f.name)) for f in attrs.fields(item)},
        "after": list(item.after), "before": list(item.before), "needs": sorted(item.needs), "provides": sorted(item.provides),
        "drops": sorted(item.drops), "default": item.default,
    }  # fmt: skip


def _order(row: dict[str, Any]) -> str:
    parts = [f"{word} {', '.join(row[word])}" for word in ("after", "before", "needs", "provides", "drops") if row[word]]
    return "\n".join(parts)
