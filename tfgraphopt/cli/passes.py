"""List the passes with their options, defaults and order, the rewrite rules that they host, and the pipelines."""

from __future__ import annotations

import argparse
from collections.abc import Container
from typing import TYPE_CHECKING, Any

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common

if TYPE_CHECKING:
    from tfgraphopt.plugins import Tables

HELP = "list passes, rewrite rules and pipelines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print the passes, rules and pipelines of the loaded plugins."""
    from tfgraphopt.config import Config
    from tfgraphopt.optimization import pipeline_of

    tables = common.load_plugins(options)
    owned = tables.by_key.get("tfgraphopt_passes", {})
    rows = [describe(c.item) | {"plugin": c.plugin} for c in owned.values()]
    default = str(pipeline_of(Config(), tables))
    named = dict(tables.items("tfgraphopt_pipelines"))
    rules = _rules(tables)
    if options.json:
        common.print_json({"passes": rows, "patterns": rules, "pipelines": named, "default_pipeline": default})
        return 0
    console = common.console()
    console.print(_pass_table(rows))
    console.print(_rule_table(rules, {row["name"] for row in rows}))
    for name, text in named.items():
        console.print(f"pipeline {name}: {text}", markup=False, highlight=False)
    console.print(f"default pipeline: {default}", markup=False, highlight=False)
    return 0


def _pass_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="passes")
    for name in ("pass", "plugin", "does", "options", "order"):
        table.add_column(name, overflow="fold")
    for row in rows:
        options = "\n".join(f"{k}={v}" for k, v in row["options"].items())
        table.add_row(row["name"], row["plugin"], row["doc"], escape(options), _order(row))
    return table


def _rules(tables: Tables) -> list[dict[str, str]]:
    owned = tables.by_key.get("tfgraphopt_patterns", {})
    rules = [
        {"name": name, "host": c.item.host, "plugin": c.plugin, "doc": (c.item.__doc__ or "").strip().splitlines()[0]}
        for name, c in owned.items()
    ]
    return sorted(rules, key=lambda rule: (rule["host"], rule["name"]))


def _rule_table(rules: list[dict[str, str]], passes: Container[str]) -> Table:
    table = Table(title="rewrite rules")
    for name in ("rule", "host", "plugin", "does"):
        table.add_column(name, overflow="fold")
    for rule in rules:
        host = rule["host"] if rule["host"] in passes else f"{rule['host']} (no such pass: never applied)"
        table.add_row(rule["name"], host, rule["plugin"], escape(rule["doc"]))
    return table


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
    parts = [
        f"{word} {', '.join(row[word])}" for word in ("after", "before", "needs", "provides", "drops") if row[word]
    ]
    return "\n".join(parts)
