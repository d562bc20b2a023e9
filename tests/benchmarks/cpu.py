"""CPU latency side by side: plain TensorFlow, OpenVINO engines inside TensorFlow in FP32 and INT8, and OpenVINO alone.

``python tests/benchmarks/cpu.py [MODEL ...] [--batches 1 8] [--repeats 15] [--precisions fp32 int8]``. One process, one table; the
versions of a model take turns, so that whatever else the machine does hits all of them; the table shows medians. A short call is
timed right after another of its kind. OpenVINO alone reads the original frozen graph with its own TensorFlow frontend, is compiled
for exactly the shapes it runs and with the same properties as our engines, and reads and writes its caller's memory.

Sessions are called in three ways. "ours" and "TensorFlow": TensorFlow's callable (``Session::MakeCallable``), computing in the
caller's thread; plain TensorFlow with its pool of threads as well, and the faster of both counts. "session.run": ours as most
programs call a session. "empty": a callable that only hands its inputs through, what a graph inside TensorFlow costs before
anything is computed. All arrays lie where TensorFlow takes them without a copy.

INT8 is calibrated on other inputs than those that are timed; the weights of keras.applications are random, so its error says little.
BERT-base is an encoder of BERT's dimensions (12 layers, hidden size 768, 128 tokens; a vocabulary of 1,000, for an embedding table takes
memory and no time) with random weights, in FP32 only. MTCNN is all network calls of a face detection (workloads.py): PNet compiled for
each size of the pyramid, RNet and ONet, by OpenVINO alone and by us, for any number of candidates.

On a machine with other load ``--processor`` tells more: the least processor time of any repeat, of all threads.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if not __package__:  # run as a script: the tests' packages are beside its own
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import attrs
import numpy as np
from openvino_engine.nets import CALLERS_THREAD, tensorflows_callable
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
import tfgraphopt.runtime
from benchmarks.workloads import NAMES, Shapes, Step, Workload, workload
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import export_graph_def
from tfgraphopt_openvino.build import properties
from zoo.frozen import Array, FrozenModel

PRECISIONS = ("fp32", "int8")
_SHORT = 0.1
"""Seconds. Calls that take less are timed after another of the same kind."""

Call = Callable[[], object]
Callables = Mapping[str, Callable[..., Sequence[Array]]]
"""By network, a function of its inputs in order."""


@attrs.frozen
class Timer:
    """A clock, what is taken of the repeats, and what the table calls it."""

    clock: Callable[[], float]
    of: Callable[[Sequence[float]], Any]
    title: str


WALL = Timer(time.perf_counter, np.median, "median ms")
PROCESSOR = Timer(time.process_time, min, "least ms of processor time")


@attrs.frozen
class Measured:
    """Seconds of the versions on one batch size; of our own by precision, with the largest relative error of each."""

    model: str
    batch: int
    tensorflow: float
    openvino: float
    empty: float
    session_run: float | None
    ours: Mapping[str, float]
    errors: Mapping[str, float]
    engines: Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=NAMES, metavar="MODEL", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=15, help="runs of each version")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--processor", action="store_true", help="least processor time, for machines with other load")
    options = parser.parse_args(arguments)
    timer = PROCESSOR if options.processor else WALL
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows: list[Measured] = []
    for name in options.models:
        rows += measure(name, options.batches, options.repeats, options.precisions, timer)
        print(f"{name}: done", file=sys.stderr, flush=True)
    console.print(table(rows, options.precisions, timer))
    return 0


def measure(
    name: str, batches: Sequence[int], repeats: int, precisions: Sequence[str], timer: Timer = WALL
) -> list[Measured]:
    """Measure one model."""
    work = workload(name, batches)
    with tempfile.TemporaryDirectory(prefix="tfgraphopt-") as folder:
        sessions = _sessions(work, [p for p in precisions if p == "fp32" or work.quantised], Path(folder))
        plain = {n: _session(m, m.graph_def) for n, m in work.models.items()}
        ours = {p: _callables(work, made, CALLERS_THREAD) for p, made in sessions.items()}
        versions: dict[str, Callables] = {
            "pool": _callables(work, plain, 0),
            "caller": _callables(work, plain, CALLERS_THREAD),
            "empty": {n: _hand_through(m) for n, m in work.models.items()},
            "session.run": _session_runs(work, sessions.get("fp32", {})),
            **ours,
        }
        rows = []
        for batch, steps in work.steps.items():
            calls = {n: _sequence(v, steps) for n, v in versions.items() if v}
            calls["alone"] = _openvino(work, steps)
            gc.collect()  # TensorFlow's Python graphs are cycles, each with the weights
            taken = dict(zip(calls, _take_turns(list(calls.values()), repeats, timer), strict=True))
            del calls
            checked = {p: _checked(made, versions["pool"], steps) for p, made in ours.items()}
            rows.append(_row(name, batch, taken, checked))
    return rows


def _row(name: str, batch: int, taken: Mapping[str, float], checked: Mapping[str, tuple[float, str]]) -> Measured:
    return Measured(
        name, batch, min(taken["pool"], taken["caller"]), taken["alone"], taken["empty"], taken.get("session.run"),
        {p: taken[p] for p in checked}, {p: error for p, (error, _) in checked.items()},
        {p: engines for p, (_, engines) in checked.items()},
    )  # fmt: skip


def _sessions(work: Workload, precisions: Sequence[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Our versions, by precision and network. A large model is in memory often enough: nothing but the sessions is kept."""
    made = {}
    for precision in precisions:
        optimised = {n: _optimise(m, work.shapes[n], precision, folder) for n, m in work.models.items()}
        gc.collect()
        if all(graph_def is not None for graph_def in optimised.values()):
            made[precision] = {n: _session(work.models[n], graph_def) for n, graph_def in optimised.items()}
    return made


def _sequence(networks: Callables, steps: Sequence[Step]) -> Call:
    """All calls of a workload."""
    bound = [partial(networks[step.model.name], *step.arrays) for step in steps]

    def run() -> None:
        for call in bound:
            call()

    return run


def _checked(ours: Callables, plain: Callables, steps: Sequence[Step]) -> tuple[float, str]:
    """The largest error of a version, and what ran its engine nodes."""
    tfgraphopt.runtime.reset_counters()
    pairs = [
        pair
        for step in steps
        for pair in zip(ours[step.model.name](*step.arrays), plain[step.model.name](*step.arrays), strict=True)
    ]
    return max(_error(made, expected) for made, expected in pairs), _engines(tfgraphopt.runtime.counters())


def _optimise(model: FrozenModel, shapes: Shapes, precision: str, folder: Path) -> object:
    """Engines with plans in files of ``folder``; None where nothing can be quantised."""
    config = tgo.Config(
        engine="openvino", precision=precision, input_shapes=dict(shapes), engine_dir=folder, max_embedded_bytes=1,
        options={"engine_cache": False},
    )  # fmt: skip
    largest = max(ranges[-1].max[0] for ranges in shapes.values())
    data = None if precision == "fp32" else [model.feeds(largest, seed) for seed in (1, 2)]
    try:
        return tgo.optimize_graph_def(model.graph_def, model.outputs, config, calibration_data=data).graph_def
    except ConfigError as error:
        if "nothing in this graph can be quantised" not in str(error):
            raise
        return None


def _session(model: FrozenModel, graph_def: object) -> Any:
    import tensorflow as tf

    return tf.compat.v1.Session(graph=_graph(graph_def))


def _callables(work: Workload, sessions: Mapping[str, Any], pool: int) -> Callables:
    """TensorFlow's callables, computing in ``pool`` (of ``RunOptions.inter_op_thread_pool``; -1: in the caller's thread)."""
    return {
        name: tensorflows_callable(
            sessions[name], [f"{i.name}:0" for i in model.inputs], [f"{o}:0" for o in model.outputs], pool
        )
        for name, model in work.models.items()
    }


def _session_runs(work: Workload, sessions: Mapping[str, Any]) -> Callables:
    made = {}
    for name, session in sessions.items():
        model = work.models[name]
        made[name] = session.make_callable([f"{o}:0" for o in model.outputs], [f"{i.name}:0" for i in model.inputs])
    return made


def _hand_through(model: FrozenModel) -> Callable[..., Sequence[Array]]:
    """A callable that returns its inputs."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        fed = [tf.compat.v1.placeholder(i.dtype, i.shape) for i in model.inputs]
        returned = [tf.identity(p).name for p in fed]
    return tensorflows_callable(tf.compat.v1.Session(graph=graph), [p.name for p in fed], returned, CALLERS_THREAD)


def _openvino(work: Workload, steps: Sequence[Step]) -> Call:
    """OpenVINO on the original graphs, compiled for the shapes of each step; inputs and outputs are not copied."""
    converted = {name: _converted(model) for name, model in work.models.items()}
    bound = [_request(converted[step.model.name], step, work) for step in steps]

    def run() -> None:
        for call in bound:
            call()

    return run


def _request(converted: Any, step: Step, work: Workload) -> Call:
    import openvino as ov
    import tensorflow as tf

    named = {f"{i.name}:0": a for i, a in zip(step.model.inputs, step.arrays, strict=True)}
    converted.reshape({name: _compiled_for(step.model, array, work) for name, array in named.items()})
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    ours = {**properties(tgo.Config(engine="openvino")), "INFERENCE_NUM_THREADS": threads}
    request = ov.Core().compile_model(converted, "CPU", ours).create_infer_request()
    return lambda: request.infer(named, share_inputs=True, share_outputs=True)


def _compiled_for(model: FrozenModel, array: Array, work: Workload) -> Any:
    """The very shape; any number up to the most where nobody knows it before the call."""
    import openvino as ov

    if model.name not in work.varying:
        return ov.PartialShape(list(array.shape))
    most = max(r.max[0] for ranges in work.shapes[model.name].values() for r in ranges)
    return ov.PartialShape([ov.Dimension(1, most), *array.shape[1:]])


def _converted(model: FrozenModel) -> Any:
    """The original graph read by OpenVINO; function calls, which it cannot read, are inlined before (ConvNeXt)."""
    import openvino as ov

    if not model.graph_def.library.function:
        return ov.convert_model(_graph(model.graph_def))
    graph_def = type(model.graph_def)()
    graph_def.CopyFrom(model.graph_def)
    for part in (*graph_def.node, *graph_def.library.function):
        part.attr.pop("_noinline", None)
    inline = tgo.Config(engine="none", pipeline="inline-functions")
    return ov.convert_model(_graph(export_graph_def(tgo.optimize_graph_def(graph_def, model.outputs, inline).module)))


def _graph(graph_def: object) -> Any:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    return graph


def _take_turns(calls: Sequence[Call], repeats: int, timer: Timer) -> list[float]:
    """The seconds of each call; two rounds warm up."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 2):
        for call, taken in zip(calls, seconds, strict=True):
            if taken and taken[-1] < _SHORT:
                call()
            started = timer.clock()
            call()
            taken.append(timer.clock() - started)
    return [float(timer.of(taken[2:])) for taken in seconds]


def _error(made: Array, expected: Array) -> float:
    return float(np.abs(made - expected).max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-30))


def _engines(counters: Mapping[str, object]) -> str:
    """How many engine nodes ran, and why any did not."""
    reasons = {reason for count in counters.values() for reason in count.fallbacks}  # type: ignore[attr-defined]
    return f"{len(counters)}" + (f" ({', '.join(sorted(reasons))})" if reasons else "")


def table(rows: Sequence[Measured], precisions: Sequence[str], timer: Timer = WALL) -> Table:
    """Milliseconds and ratios."""
    shown = Table(title=f"CPU latency, {len(os.sched_getaffinity(0))} cores, {timer.title}")
    ours = [f"ours {p}" for p in precisions]
    ratios = ("speed-up", "ours / alone", "ours - alone, us", "session.run / alone", "int8 gain")
    for name in ("model", "batch", "TensorFlow", "OpenVINO alone", "empty", *ours, *ratios, "error", "engines"):
        shown.add_column(name, justify="left" if name in ("model", "engines") else "right")
    for r in rows:
        milliseconds = [_ms(r.tensorflow), _ms(r.openvino), _ms(r.empty), *(_ms(r.ours.get(p)) for p in precisions)]
        first = r.ours.get("fp32")
        faster = [_ratio(r.tensorflow, first, "x"), _ratio(first, r.openvino)]
        faster += ["-" if first is None else f"{(first - r.openvino) * 1e6:.0f}"]
        faster += [_ratio(r.session_run, r.openvino), _ratio(first, r.ours.get("int8"), "x")]
        errors = ", ".join(f"{e:.0e}" for e in r.errors.values())
        shown.add_row(
            r.model, str(r.batch), *milliseconds, *faster, errors, ", ".join(dict.fromkeys(r.engines.values()))
        )
    return shown


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"


def _ratio(one: float | None, two: float | None, unit: str = "") -> str:
    return "-" if one is None or two is None else f"{one / two:.2f}{unit}"


if __name__ == "__main__":
    sys.exit(main())
