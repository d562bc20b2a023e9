"""Time a model, or an original against its optimised form: they run in turns, after warming up, on the same data.

Latency is the time of one call with arrays in host memory, results in host memory. Throughput counts samples a second.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from rich.markup import escape
from rich.table import Table

from tfgraphopt.cli import common
from tfgraphopt.cli.feeds import check_runnable, random_feeds, read_feeds
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.benchmark import Contestant, Measured, Progress, Speedup
    from tfgraphopt.cli.feeds import Array
    from tfgraphopt.formats.load import LoadedModel
    from tfgraphopt.running import Runner

HELP = "latency and throughput, original against optimised"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", nargs="?", default="", help=f"the original: {common.MODEL}")
    parser.add_argument("optimised", nargs="?", default="", help="its optimised form")
    parser.add_argument(
        "--engine-file", "--engine", action="append", default=[], type=Path, metavar="PLAN",
        help="also time this serialised engine by itself, without TensorFlow (a plugin must know how); repeatable",
    )  # fmt: skip
    parser.add_argument("--xla", action="store_true", help="also time the original compiled by XLA")
    common.add_model_arguments(parser, positional=False)
    common.add_data_arguments(parser)
    group = parser.add_argument_group("measuring")
    for flag, kind, default, metavar, text in _NUMBERS:
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=f"{text} (default: %(default)s)")
    group.add_argument(
        "--threads", type=int, default=0, metavar="N", help="TensorFlow's own (default: as many as it likes)"
    )
    group.add_argument(
        "--min-speedup", type=float, metavar="X",
        help="exit code 3 unless the optimised model is surely (95 %%) at least X times as fast as the original",
    )  # fmt: skip
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


_NUMBERS: tuple[tuple[str, type, float, str, str], ...] = (
    ("--seconds", float, 5.0, "S", "to measure, all together"),
    ("--min-runs", int, 20, "N", "measured runs of each at least"),
    ("--max-runs", int, 10_000, "N", "and at most"),
    ("--warmup", int, 5, "N", "unmeasured runs of each at least; more follow until latency falls no further"),
    ("--warmup-seconds", float, 30.0, "S", "of warming up one of them, at most"),
    ("--concurrency", int, 1, "N", "threads that call at once when throughput is measured"),
)


def run(options: argparse.Namespace) -> int:
    """Measure and print; 3 when the wanted speed-up was not reached."""
    from tfgraphopt.benchmark import Schedule, race, speedup

    schedule = Schedule(
        seconds=options.seconds, min_runs=options.min_runs, max_runs=options.max_runs, warmup_runs=options.warmup,
        warmup_seconds=options.warmup_seconds, concurrency=options.concurrency,
    )  # fmt: skip
    with common.progress_bar() as progress, ExitStack() as stack:
        contestants = _contestants(options, progress, stack)
        measured = race(contestants, schedule, progress)
    ratios = [speedup(m, measured[0]) for m in measured[1:]]
    reached = _reached(options, ratios)
    if options.json:
        common.print_json({"format": 1, "machine": _machine(), **_tree(measured, ratios), "reached": reached})
    else:
        _print(measured, ratios, options, reached)
    return common.EXIT_NO if reached is False else 0


def _reached(options: argparse.Namespace, ratios: list[Speedup]) -> bool | None:
    """Whether the wanted speed-up was reached; None when none is wanted."""
    if options.min_speedup is None:
        return None
    if not options.optimised:
        raise ConfigError("--min-speedup compares an original and an optimised model", hint="name both")
    wanted: float = options.min_speedup
    return ratios[0].low >= wanted


def _contestants(options: argparse.Namespace, progress: Progress, stack: ExitStack) -> list[Contestant]:
    made = []
    for contestant in _prepare(options, progress):
        stack.callback(contestant.close)
        made.append(contestant)
    if not made:
        raise ConfigError("there is nothing to time", hint="name a model, or an engine with --engine-file PLAN")
    return made


def _prepare(options: argparse.Namespace, progress: Progress) -> Iterable[Contestant]:
    feeds: dict[str, Array] = read_feeds(options.data) if options.data is not None else {}
    if options.model:
        feeds = yield from _models(options, feeds, progress)
    if options.engine_file:
        yield from _engines(options, feeds)


def _models(options: argparse.Namespace, feeds: dict[str, Array], progress: Progress) -> Any:
    from tfgraphopt.contestants import running, under_xla
    from tfgraphopt.running import fitting

    progress("loading", 0, 1)
    model = common.load_model(options)
    runner = common.signature_runner(options, options.model)
    first = runner or _frozen(options, model)
    feeds = feeds or random_feeds(model, common.shape_ranges(options.shape), options.seed)
    yield running("original", first, model.graph_def, fitting(feeds, first.inputs, model.inputs))
    if options.optimised:
        other = common.load_optimised(options, options.optimised, model)
        runner = common.signature_runner(options, options.optimised)
        second = runner or _frozen(options, other)
        yield running("optimised", second, other.graph_def, fitting(feeds, second.inputs, first.inputs))
    if options.xla:
        check_runnable(attrs.evolve(model, state=None))  # XLA has no tables, and gets no handles from us
        yield under_xla("original, XLA", model.graph_def, model.outputs, feeds)
    return feeds


def _frozen(options: argparse.Namespace, model: LoadedModel) -> Runner:
    from tfgraphopt.running import Runner

    check_runnable(model)
    return Runner.of(model.graph_def, model.outputs, threads=options.threads, state=model.state)


def _engines(options: argparse.Namespace, feeds: dict[str, Array]) -> Iterable[Contestant]:
    from tfgraphopt.benchmark import EngineRequest
    from tfgraphopt.contestants import engine_by_itself

    tables = common.load_plugins(options)
    shapes = {name: ranges[0].opt for name, ranges in common.shape_ranges(options.shape).items()}
    for plan in options.engine_file:
        yield engine_by_itself(EngineRequest(plan, feeds, shapes, options.seed), tables)


# -- output --------------------------------------------------------------------------------------------------------------


def _tree(measured: list[Measured], ratios: list[Speedup]) -> dict[str, Any]:
    return {"contestants": [m.to_json() for m in measured], "speedups": [attrs.asdict(r) for r in ratios]}


def _machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import os
    import platform

    import tensorflow as tf

    gpus = [tf.config.experimental.get_device_details(d) for d in tf.config.list_physical_devices("GPU")]
    return {
        "tensorflow": tf.__version__, "python": platform.python_version(), "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(), "load": os.getloadavg()[0], "gpus": [g.get("device_name", "") for g in gpus],
    }  # fmt: skip


def _print(measured: list[Measured], ratios: list[Speedup], options: argparse.Namespace, reached: bool | None) -> None:
    console = common.console()
    console.print(_table(measured))
    lines = [str(r) for r in ratios]
    lines += [f"note: {m.name}: {remark}" for m in measured for remark in m.remarks]
    lines += [f"note: {m.name} was still getting faster when measuring began" for m in measured if not m.steady]
    if reached is not None:
        lines.append(f"speed-up of {options.min_speedup:g}: {'reached' if reached else 'NOT reached'}")
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _table(measured: list[Measured]) -> Table:
    threads = measured[0].concurrency
    table = Table(title="milliseconds a call" + (f"; samples a second by {threads} threads" if threads > 1 else ""))
    table.add_column("", overflow="fold")
    for name in ("clock", "runs", "p50", "p90", "p95", "p99", "mean", "min", "max", "samples/s", "first call"):
        table.add_column(name, justify="right")
    for each in measured:
        for clock, latency in each.latency.items():
            own = clock == "wall"
            figures = (latency.p50, latency.p90, latency.p95, latency.p99, latency.mean, latency.min, latency.max)
            table.add_row(
                escape(each.name) if own else "", clock, str(latency.runs), *(f"{1e3 * s:.3f}" for s in figures),
                f"{each.throughput:.1f}" if own else "", f"{1e3 * each.first_seconds:.0f}" if own else "",
            )  # fmt: skip
    return table
