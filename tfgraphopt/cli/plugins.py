"""List the plugins: name, version, distribution, hooks and contributions."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from tfgraphopt.cli import common

HELP = "list plugins and what they contribute"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_plugin_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(options: argparse.Namespace) -> int:
    """Load the plugins and print them."""
    tables = common.load_plugins(options)
    rows = [_describe(info, tables) for info in tables.plugins]
    failures = [str(f) for f in tables.failures]
    if options.json:
        common.print_json({"plugins": rows, "failures": failures})
        return 0
    table = Table(title="plugins")
    for name in ("plugin", "distribution", "hooks", "contributes"):
        table.add_column(name, overflow="fold")
    for row in rows:
        contributed = "\n".join(f"{hook}: {len(keys)} ({_shortened(keys)})" for hook, keys in row["contributes"].items())
        table.add_row(row["name"], f"{row['distribution']} {row['version']}", "\n".join(row["hooks"]), contributed)
    console = common.console()
    console.print(table)
    for failure in failures:
        console.print(f"failed: {failure}", markup=False, highlight=False)
    return 0


def _describe(info: Any, tables: Any) -> dict[str, Any]:
    contributes = {
        hook: sorted(key for key, c in by_key.items() if c.plugin == info.name) for hook, by_key in tables.by_key.items()
    }
    return {
        "name": info.name, "distribution": info.distribution, "version": info.version, "hooks": list(info.hooks),
        "contributes": {h: k for h, k in contributes.items() if k},
    }  # fmt: skip


def _shortened(keys: list[str]) -> str:
    return ", ".join(keys[:6]) + (", ..." if len(keys) > 6 else "")
