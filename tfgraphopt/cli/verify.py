"""Compare an original with its optimised form on data; or, with one model, predict what a precision will cost.

With two models both are run in TensorFlow, and errors are printed by output (and by engine with --per-segment). With one model
nothing is built: the errors of the engines of --precision are predicted on any machine, and layers to keep in float32 are found.
Exit code 3 when an output breaks a limit, or is not finite where the original is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common
from tfgraphopt.cli.feeds import check_runnable, random_feeds, read_named
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tfgraphopt.comparing import Comparison, Limits
    from tfgraphopt.formats.load import LoadedModel
    from tfgraphopt.verification import Array, Errors, Verification

HELP = "compare original and optimised model, or predict the accuracy of a precision"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help=f"the original: {common.MODEL}")
    parser.add_argument("optimised", nargs="?", default="", help="its optimised form; without it errors are predicted")
    common.add_model_arguments(parser, positional=False)
    _add_data_arguments(parser)
    _add_limit_arguments(parser)
    parser.add_argument(
        "--per-segment", action="store_true", help="with two models: also every engine, on the operands that it gets"
    )
    _add_prediction_arguments(parser)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data", action="append", default=[], type=Path, metavar="FILE",
        help=".npz with an array for every input, by its name, or .npy for the only input; repeatable with two models",
    )  # fmt: skip
    group.add_argument("--batch", type=int, metavar="N", help="with two models: samples a batch (default: whole files)")
    group.add_argument("--random", action="store_true", help="random numbers for data; they say little of accuracy")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (default: %(default)s)")


def _add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits (for every output; exit code 3 when one is broken)")
    group.add_argument(
        "--tolerance", type=float, metavar="X", help="largest error, relative to the largest magnitude of the output"
    )
    group.add_argument("--max-abs", type=float, metavar="X", help="with two models: largest absolute error")
    group.add_argument("--min-cosine", type=float, metavar="X", help="with two models: least cosine")
    group.add_argument("--min-snr", type=float, metavar="DB", help="with two models: least signal-to-noise ratio")


def _add_prediction_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("prediction (with one model)")
    group.add_argument("--no-search", action="store_true", help="do not search the layers to keep in float32")
    group.add_argument("--measure", action="store_true", help="let the ranges of tensors on the data decide, too")
    group.add_argument("--plan", metavar="FILE", help="replay the precision plans in this file")
    group.add_argument("--ranges", metavar="FILE", help="use the measured ranges in this file")
    group.add_argument(
        "--save-plan", type=Path, metavar="FILE", help="write the precision plans (with what the search found)"
    )
    group.add_argument("--save-ranges", type=Path, metavar="FILE", help="write the measured ranges (implies --measure)")


def run(options: argparse.Namespace) -> int:
    """Compare or predict, and print; 3 when a limit is broken."""
    return _compare(options) if options.optimised else _predict(options)


def _predict(options: argparse.Namespace) -> int:
    from tfgraphopt.verification import VerifyRequest

    config = _config(options)
    with common.progress_bar() as progress:
        model = common.load_model(options)
        check_runnable(model)
        feeds = _feeds(options, model)
        measure = options.measure or options.save_ranges is not None
        request = VerifyRequest(
            model.graph_def, model.outputs, config, common.load_plugins(options), feeds, options.tolerance,
            not options.no_search, measure, progress, model.state,
        )  # fmt: skip
        found = _ask(request)
    _save(options, found)
    _print(options, found)
    return 0 if options.tolerance is None or found.within(options.tolerance) else common.EXIT_NO


# -- two models ----------------------------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    from tfgraphopt.comparing import Limits, Model, compare

    limits = Limits(
        tolerance=options.tolerance, max_abs=options.max_abs, min_cosine=options.min_cosine, min_snr=options.min_snr
    )
    with common.progress_bar() as progress:
        progress("loading", 0, 1)
        model = common.load_model(options)
        other = common.load_optimised(options, options.optimised, model)
        runners = [common.signature_runner(options, path) for path in (options.model, options.optimised)]
        for each, runner in zip((model, other), runners, strict=True):
            if runner is None or options.per_segment:
                check_runnable(each)
        found = compare(
            Model(model.graph_def, model.outputs, runners[0], model.state, model.names),
            Model(other.graph_def, other.outputs, runners[1], other.state, other.names),
            _batches(options, model), segments=options.per_segment, progress=progress,
        )  # fmt: skip
    _print_comparison(options, found, limits)
    return common.EXIT_NO if found.broken(limits) else 0


def _batches(options: argparse.Namespace, model: LoadedModel) -> Iterable[Mapping[str, Array]]:
    from tfgraphopt.cli.samples import batches_of, inputs_of

    if not options.data:
        return [_feeds(options, model)]
    inputs = inputs_of(model.graph_def, model.outputs)
    given = batches_of(options.data, options.batch or sys.maxsize, inputs)
    return (b if isinstance(b, Mapping) else {_only_input(model): b} for b in given)


def _only_input(model: LoadedModel) -> str:
    names = model.inputs
    if len(names) != 1:
        raise ConfigError("a .npy file is for models with one input", hint=f"this one has {', '.join(names)}: use .npz")
    return names[0]


def _print_comparison(options: argparse.Namespace, found: Comparison, limits: Limits) -> None:
    broken = found.broken(limits)
    if options.json:
        data = [str(p) for p in options.data] or "random"
        common.print_json({"format": 1, **found.to_json(), "data": data, "broken": broken, "good": not broken})
        return
    console = common.console()
    console.print(_error_table(f"outputs on {found.samples} samples in {found.batches} batches", found.outputs))
    for name, errors in found.segments.items():
        console.print(_error_table(f"{name} alone, against TensorFlow on the same operands", errors))
    lines = [f"note: {line}" for line in found.engines]
    lines += [] if options.data else [_RANDOM]
    lines += [f"output {name}: {reason}" for name, reasons in broken.items() for reason in reasons]
    lines.append("limits BROKEN" if broken else "every output is within its limits")
    for line in lines:
        console.print(line, markup=False, highlight=False)


# -- one model -----------------------------------------------------------------------------------------------------------


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
    if len(options.data) > 1:
        raise ConfigError("accuracy is predicted on one file of data", hint="several are for two models")
    if not (options.data or options.random):
        raise ConfigError("accuracy is judged on data", hint="pass --data FILE.npz; or --random, which says little")
    if options.data:
        return read_named(options.data[0], model)
    return random_feeds(model, common.shape_ranges(options.shape), options.seed)


# -- output --------------------------------------------------------------------------------------------------------------


def _save(options: argparse.Namespace, found: Verification) -> None:
    from tfgraphopt.files import write_atomically

    for path, kind in ((options.save_plan, "plans"), (options.save_ranges, "ranges")):
        if path is not None:
            write_atomically(path, json.dumps(found.artefacts.get(kind, {}), indent=1).encode())


def _print(options: argparse.Namespace, found: Verification) -> None:
    if options.json:
        common.print_json({**found.to_json(), "data": str(options.data[0]) if options.data else "random"})
        return
    console = common.console()
    console.print(_error_table(f"outputs in {found.precision}, predicted, against TensorFlow", found.outputs))
    for name, errors in found.segments.items():
        console.print(_error_table(f"{name} alone", errors))
    if found.culprits is not None:
        console.print(_culprit_table(found))
        console.print(_error_table("outputs with these layers in float32", found.repaired))
    _print_lines(console, options, found)


_RANDOM = "the data is random: errors on real data may be quite different"


def _print_lines(console: Console, options: argparse.Namespace, found: Verification) -> None:
    notes = [
        *found.notes,
        *([] if options.data else [_RANDOM]),
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
