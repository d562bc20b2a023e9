"""The parsers of all commands: each command declares its own arguments, and all of them read configuration files."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import attrs

import tfgraphopt

COMMANDS = (
    "optimize", "calibrate", "explain", "verify", "bench", "bisect", "reproduce", "plugins", "passes", "doctor", "cache",
    "completion",
)  # fmt: skip
EPILOG = """exit codes:
  0    done
  1    an error, printed on stderr (with --json also as {"error": ...} on stdout)
  2    wrong usage
  3    done, and the answer is no: a tolerance or a speed-up is missed, a culprit or a problem was found
  130  interrupted
"""


@attrs.frozen(slots=True)
class Parsers:
    """The parser of the program and those of its commands, by name."""

    program: argparse.ArgumentParser
    commands: dict[str, argparse.ArgumentParser]


def build_parsers() -> Parsers:
    """Every command with its arguments; TensorFlow is not imported."""
    program = argparse.ArgumentParser(
        prog="tfgraphopt", description="TensorFlow graphs in, graphs with engines out.", epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    program.add_argument("--version", action="version", version=f"tfgraphopt {tfgraphopt.__version__}")
    commands = program.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {}
    for name in COMMANDS:
        module = importlib.import_module(f"tfgraphopt.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__, allow_abbrev=False)
        module.add_arguments(command)
        _add_settings_arguments(command)
        command.set_defaults(run=module.run)
        made[name] = command
    return Parsers(program, made)


def _add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("configuration file")
    group.add_argument(
        "--config", type=Path, metavar="FILE",
        help="read options from this TOML file; what the command line says goes before, options that repeat add up",
    )  # fmt: skip
    group.add_argument(
        "--print-config", action="store_true", help="print the options as such a file, with their meanings, and stop"
    )
