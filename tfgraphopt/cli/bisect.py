"""Find the pass, or the single rewrite, that breaks a model: optimise it with ever fewer of them and look at the result.

By default a result is good when TensorFlow computes the same outputs with it as with the original. ``--check COMMAND`` asks a
command instead, as ``git bisect run`` does: it gets the path of a GraphDef as its last argument and exits with 0 when it is good.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tfgraphopt.cli import common
from tfgraphopt.cli.feeds import check_runnable, random_feeds, read_named
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.blame import Judge
    from tfgraphopt.formats.load import LoadedModel
    from tfgraphopt.graphdef import GraphDef

_STDERR = 2
"""The file descriptor: what a command prints must not get into our own output."""

HELP = "find the pass or rewrite that breaks a model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_model_arguments(parser)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    parser.set_defaults(engine="none")
    parser.add_argument(
        "--check", default="numeric", metavar="COMMAND",
        help="'numeric' (the default), or a command (or .py file) that gets a GraphDef's path and exits with 0 when it is good",
    )  # fmt: skip
    common.add_data_arguments(parser, shapes=False)
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, metavar="X",
        help="largest error of an output relative to its largest magnitude (default: %(default)s)",
    )  # fmt: skip
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Search and print; 0 when nothing is wrong, 3 when a culprit was found."""
    from tfgraphopt.blame import blame
    from tfgraphopt.formats.load import load_model

    config = common.config_of(options)
    tables = common.load_plugins(options)
    with common.progress_bar() as progress:
        model = load_model(Path(options.model), options.outputs, options.signature, options.tags)
        judge = _judge(options, model)
        culprit = blame(model.graph_def, model.outputs, config, judge, tables=tables, progress=progress)
    if options.json:
        common.print_json({"good": culprit is None, "culprit": None if culprit is None else attrs.asdict(culprit)})
    else:
        print("the optimised model is good" if culprit is None else f"the culprit is {culprit}")
    return 0 if culprit is None else common.EXIT_NO


def _judge(options: argparse.Namespace, model: LoadedModel) -> Judge:
    from tfgraphopt.blame import SameNumbers

    if options.check != "numeric":
        return _ask(shlex.split(options.check))
    check_runnable(model)
    if options.data is not None:
        feeds = read_named(options.data, model)
    else:
        feeds = random_feeds(model, common.shape_ranges(options.shape), options.seed)
    return SameNumbers.of(model.graph_def, model.outputs, feeds, options.tolerance, model.state)


def _ask(command: Sequence[str]) -> Judge:
    """A judge that runs ``command`` with the path of a GraphDef."""
    if not command:
        raise ConfigError("--check names no command")
    words = [sys.executable, *command] if command[0].endswith(".py") else list(command)

    def is_good(made: GraphDef) -> bool:
        with tempfile.TemporaryDirectory(prefix="tfgraphopt-bisect-") as folder:
            path = Path(folder) / "model.pb"
            path.write_bytes(made.SerializeToString())
            try:
                return subprocess.run([*words, str(path)], check=False, stdout=_STDERR).returncode == 0
            except OSError as error:
                raise ConfigError(f"--check {shlex.join(command)!r} cannot be run", why=str(error)) from error

    return is_good
