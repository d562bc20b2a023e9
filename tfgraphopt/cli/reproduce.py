"""Run a reproducer that a failed optimisation has left: the IR before the failing pass through the rest of its pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "replay a failure from its reproducer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", type=Path, help="the reproducer")


def run(options: argparse.Namespace) -> int:
    """Replay; the same error is the expected outcome."""
    from tfgraphopt.instruments import replay

    replay(options.path)
    print("the pipeline ran through: the failure is gone")
    return 0
