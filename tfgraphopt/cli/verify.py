"""Predict the accuracy of a model in a precision, on any machine: TensorFlow against what the engines will compute."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common
from tfgraphopt.cli.feeds import random_feeds, read_feeds
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tfgraphopt.formats.load import LoadedModel
    from tfgraphopt.verification import Array, Errors, Verification

HELP = "predict the accuracy of a precision, find layers to keep in float32"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    common.add_model_arguments(parser)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    parser.add_argument("--data", type=Path, metavar="FILE", help=".npz with an array for every input, by its name")
    parser.add_argument("--random", action="store_true", help="random numbers for data; they say little of accuracy")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default: %(default)s)")
    parser.add_argument(
        "--tolerance", type=float, metavar="X",
        help="largest error wanted, relative to the largest magnitude of each output; exit code 1 when it cannot be met",
    )  # fmt: skip
    parser.add_argument("--no-search", action="store_true", help="do not search the layers to keep in float32")
    parser.add_argument("--measure", action="store_true", help="let the ranges of tensors on the data decide, too")
    parser.add_argument("--plan", metavar="FILE", help="replay the precision plans in this file")
    parser.add_argument("--ranges", metavar="FILE", help="use the measured ranges in this file")
    parser.add_argument(
        "--save-plan", type=Path, metavar="FILE", help="write the precision plans (with what the search found)"
    )
    parser.add_argument(
        "--save-ranges", type=Path, metavar="FILE", help="write the measured ranges (implies --measure)"
    )
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Predict and print; 1 when the tolerance is not met."""
    from tfgraphopt.formats.load import load_model
    from tfgraphopt.verification import VerifyRequest

    config = _config(options)
    with common.progress_bar() as progress:
        model = load_model(Path(options.model), options.outputs, options.signature, options.tags)
        feeds = _feeds(options, model)
        measure = options.measure or options.save_ranges is not None
        request = VerifyRequest(
            model.graph_def, model.outputs, config, common.load_plugins(options), feeds, options.tolerance,
            not options.no_search, measure, progress,
        )  # fmt: skip
        found = _ask(request)
    _save(options, found)
    _print(options, found)
    return 0 if options.tolerance is None or found.within(options.tolerance) else 1


def _config(options: argparse.Namespace) -> Any:
    config = attrs.evolve(common.config_of(options), engine="none")
    given = {name: value for name, value in (("plan", options.plan), ("ranges", options.ranges)) if value}
    settings = {**config.options.get("precision", {}), **given}
    return attrs.evolve(config, options={**config.options, "precision": settings})


def _ask(request: Any) -> Verification:
    answers: list[Verification] = request.tables.call("tfgraphopt_verify", {"request": request})
    if not answers:
        raise ConfigError(
            f"no plugin predicts the accuracy of {request.config.precision}", hint="see tfgraphopt plugins"
        )
    return answers[0]


# -- data ----------------------------------------------------------------------------------------------------------------


def _feeds(options: argparse.Namespace, model: LoadedModel) -> dict[str, Array]:
    if options.data is not None:
        return read_feeds(options.data)
    if not options.random:
        raise ConfigError("accuracy is predicted on data", hint="pass --data FILE.npz; or --random, which says little")
    return random_feeds(model, common.shape_ranges(options.shape), options.seed)


# -- output --------------------------------------------------------------------------------------------------------------


def _save(options: argparse.Namespace, found: Verification) -> None:
    from tfgraphopt.files import write_atomically

    for path, kind in ((options.save_plan, "plans"), (options.save_ranges, "ranges")):
        if path is not None:
            write_atomically(path, json.dumps(found.artefacts.get(kind, {}), indent=1).encode())


def _print(options: argparse.Namespace, found: Verification) -> None:
    if options.json:
        common.print_json({**found.to_json(), "data": "random" if options.data is None else str(options.data)})
        return
    console = common.console()
    console.print(_error_table(f"outputs in {found.precision}, predicted, against TensorFlow", found.outputs))
    for name, errors in found.segments.items():
        console.print(_error_table(f"{name} alone", errors))
    if found.culprits is not None:
        console.print(_culprit_table(found))
        console.print(_error_table("outputs with these layers in float32", found.repaired))
    _print_lines(console, options, found)


def _print_lines(console: Console, options: argparse.Namespace, found: Verification) -> None:
    notes = [
        *found.notes,
        *(["the data is random: errors on real data may be quite different"] if options.data is None else []),
    ]
    if options.tolerance is not None:
        notes.append(f"tolerance {options.tolerance:g}: {'met' if found.within(options.tolerance) else 'NOT met'}")
    for note in notes:
        console.print(note, markup=False, highlight=False)


def _error_table(title: str, errors: Mapping[str, Errors]) -> Table:
    table = Table(title=title)
    table.add_column("tensor", overflow="fold")
    for name in ("max abs", "max rel", "cosine", "SNR dB", "not finite"):
        table.add_column(name, justify="right")
    for name, e in errors.items():
        table.add_row(
            escape(name),
            f"{e.max_abs:.3g}",
            f"{e.max_rel:.3g}",
            f"{e.cosine:.6f}",
            f"{e.snr_db:.1f}",
            str(e.bad or "-"),
        )
    return table


def _culprit_table(found: Verification) -> Table:
    table = Table(title="smallest set of layers to keep in float32")
    for name in ("layer", "op", "nodes", "error alone"):
        table.add_column(name, overflow="fold")
    for culprit in found.culprits or ():
        table.add_row(escape(culprit.layer), culprit.op, escape(", ".join(culprit.nodes)), f"{culprit.error:.3g}")
    return table
