"""Say what is installed, what would run on this machine, and what to install.

Exit code 3 when something that is installed does not work.
"""

from __future__ import annotations

import argparse

import attrs

from tfgraphopt.cli import common

HELP = "say what is installed and what would run here"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Look and print; 3 when there is a problem."""
    from rich.table import Table

    from tfgraphopt.diagnosis import diagnose

    found = diagnose(common.load_plugins(options))
    healthy = all(f.state != "problem" for f in found)
    if options.json:
        common.print_json({"healthy": healthy, "findings": [attrs.asdict(f) for f in found]})
        return 0 if healthy else 3
    table = Table(title="tfgraphopt doctor", show_lines=False)
    for name in ("", "subject", "finding", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in found:
        table.add_row(_MARKS[finding.state], *map(_plain, (finding.subject, finding.text, finding.hint)))
    common.console().print(table)
    return 0 if healthy else 3


_MARKS = {"ok": "[green]ok[/]", "note": "note", "missing": "[yellow]missing[/]", "problem": "[red]problem[/]"}


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
