"""The command line: ``tfgraphopt COMMAND``; each command is a module of this package.

Exit codes: 0 done, 1 a clear error (printed on stderr), 2 wrong usage, 3 the answer is no (a tolerance or speed-up is missed, a
culprit or a problem was found), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

COMMANDS = ("optimize", "calibrate", "explain", "plugins", "passes", "reproduce", "bisect", "verify", "bench")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # deprecation notices about calls that are not the user's
    parser = argparse.ArgumentParser(prog="tfgraphopt", description="TensorFlow graphs in, graphs with engines out.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"tfgraphopt.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    return _guarded(options.run, options)


def _guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    from tfgraphopt.errors import TfGraphOptError

    try:
        return run(options)
    except TfGraphOptError as error:
        notes = "".join(f"\n  note: {n}" for n in _notes(error))
        print(f"tfgraphopt: error: {error}{notes}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("tfgraphopt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _notes(error: BaseException) -> list[str]:
    """The notes of an error and of what caused it (where the failing pass has left its reproducer, say)."""
    found: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        found += getattr(cause, "__notes__", ())
        cause = cause.__cause__
    return list(dict.fromkeys(found))
