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
    parser.add_argument("--all", action="store_true", help="list every contribution by name, not only the first ones")
    common.add_json_argument(parser)


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
        shown = {h: row["hosts"] or k if h == "tfgraphopt_patterns" else k for h, k in row["contributes"].items()}
        contributed = "\n".join(_line(hook, keys, options.all) for hook, keys in shown.items())
        table.add_row(row["name"], f"{row['distribution']} {row['version']}", "\n".join(row["hooks"]), contributed)
    console = common.console()
    console.print(table)
    for failure in failures:
        console.print(f"failed: {failure}", markup=False, highlight=False)
    return 0


def _describe(info: Any, tables: Any) -> dict[str, Any]:
    contributes = {
        hook: sorted(key for key, c in by_key.items() if c.plugin == info.name)
        for hook, by_key in tables.by_key.items()
    }
    rules = tables.by_key.get("tfgraphopt_patterns", {}).values()
    return {
        "name": info.name, "distribution": info.distribution, "version": info.version, "hooks": list(info.hooks),
        "contributes": {h: k for h, k in contributes.items() if k},
        "hosts": sorted(f"{c.item.name} in {c.item.host}" for c in rules if c.plugin == info.name),
    }  # fmt: skip


def _line(hook: str, keys: list[str], everything: bool) -> str:
    shown = keys if everything else keys[:6]
    return f"{hook}: {len(keys)} ({', '.join(shown)}{', ...' if len(shown) < len(keys) else ''})"
