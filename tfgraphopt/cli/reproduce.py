"""Run a reproducer that a failed optimisation has left: the IR before the failing pass through the rest of its pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path

from tfgraphopt.cli import common

HELP = "replay a failure from its reproducer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", type=Path, help="the reproducer")
    parser.add_argument(
        "--dump", type=Path, metavar="DIR", help="write the IR after every pass that changes it, and the difference"
    )
    common.add_json_argument(parser)
    common.add_plugin_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Replay; the same error is the expected outcome."""
    from tfgraphopt.instruments import Dump, Verify, replay

    around = [Verify(), *([Dump(options.dump)] if options.dump else [])]
    module = replay(options.path, common.load_plugins(options), around)
    if options.json:
        common.print_json({"failed": False, "nodes": {g.name: len(g) for g in module.graphs()}})
    else:
        print("the pipeline ran through: the failure is gone")
    return 0
