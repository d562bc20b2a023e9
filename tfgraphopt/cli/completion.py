"""Print a script that completes commands, options and file names in a shell.

For bash: ``tfgraphopt completion bash > ~/.local/share/bash-completion/completions/tfgraphopt``.
"""

from __future__ import annotations

import argparse
import sys

HELP = "a script for your shell that completes commands and options"
SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from tfgraphopt.cli.parser import build_parsers

    parsers = build_parsers()
    for parser in parsers.commands.values():
        for action in parser._actions:
            _complete_paths(action)
    sys.stdout.write(shtab.complete(parsers.program, options.shell))
    return 0


def _complete_paths(action: argparse.Action) -> None:
    """Models, data and outputs are files or directories."""
    import shtab

    is_path = not action.option_strings or action.metavar in ("FILE", "PLAN", "PATH")
    if action.choices is None and (is_path or action.metavar == "DIR"):
        action.complete = shtab.FILE if is_path else shtab.DIRECTORY  # type: ignore[attr-defined]
