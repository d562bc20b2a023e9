"""Writes the reference page of the command line from the parsers themselves."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import textwrap
from collections.abc import Iterable
from unittest.mock import patch

from tfgraphopt.cli import settings
from tfgraphopt.cli.parser import EPILOG, Parsers, build_parsers


def cli_page() -> Iterable[str]:
    """Every command with its usage and options, exit codes, and configuration files."""
    with patch.dict(os.environ, {"COLUMNS": "100"}):  # the width that argparse wraps usages to
        parsers = build_parsers()
        yield from ("# Command line", "", "```text", "tfgraphopt COMMAND [options]", "```", "")
        yield from _overview(parsers)
        yield from ("## Exit codes", "", "| code | meaning |", "| --- | --- |")
        for line in EPILOG.splitlines()[1:]:
            code, _, meaning = line.strip().partition(" ")
            yield f"| {code} | {meaning.strip()} |"
        yield from ("", "## Configuration files", "", *_plain(settings.__doc__).splitlines(), "")
        yield from (
            "`tfgraphopt COMMAND --print-config` prints such a file with every option, its meaning and its value.",
            "",
        )
        for name, parser in parsers.commands.items():
            yield from _command(name, parser)


def _overview(parsers: Parsers) -> Iterable[str]:
    actions = (a for a in parsers.program._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: choice.help for action in actions for choice in action._choices_actions}
    yield from ("| command | does |", "| --- | --- |", *(f"| [{n}](#{n}) | {h} |" for n, h in helps.items()), "")


def _command(name: str, parser: argparse.ArgumentParser) -> Iterable[str]:
    yield from (f"## {name}", "", _plain(parser.description), "", "```text", parser.format_usage().strip(), "```", "")
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.dest != "help"]
        if actions:
            yield from (f"*{(group.title or '').capitalize()}*", "", "| | |", "| --- | --- |")
            yield from (_row(a, parser) for a in actions)
            yield ""


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    shown = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else value
    names = ", ".join(f"`{o}`" for o in action.option_strings) or f"`{action.dest}`"
    takes = f" `{shown}`" if action.option_strings and action.nargs != 0 else ""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return f"| {names}{takes} | {text.replace('|', chr(92) + '|')} |"


def _plain(docstring: str | None) -> str:
    """A docstring in Markdown: double backquotes become single ones, an indented block behind ``::`` a fenced one."""
    text = inspect.cleandoc(docstring or "").replace("``", "`")
    return re.sub(
        r"::\n\n((?:(?:    .*)?\n)*(?:    .*))", lambda m: f":\n\n```toml\n{textwrap.dedent(m[1])}\n```", text
    )
