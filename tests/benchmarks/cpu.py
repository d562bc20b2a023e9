"""CPU latency side by side: plain TensorFlow, OpenVINO engines inside TensorFlow in FP32 and INT8, and OpenVINO alone.

``python tests/benchmarks/cpu.py [MODEL ...] [--batches 1 8] [--repeats 15] [--precisions fp32 int8]``. One process, one table; the
versions of a model take turns, so that whatever else the machine does hits all of them; the table shows medians. OpenVINO alone
reads the original frozen graph with its own TensorFlow frontend, is compiled for exactly the batch it runs and with the same
properties as our engines, and reads and writes its caller's memory. A call of a TensorFlow session that only hands its inputs
through is measured as well: what a graph inside TensorFlow costs before anything is computed. INT8 is calibrated on other inputs
than those that are timed; the weights of keras.applications are random, so its error says little. BERT-base is an encoder of BERT's
dimensions (12 layers, hidden size 768, 128 tokens; a vocabulary of 1,000, for an embedding table takes memory and no time) with random
weights, in FP32 only.

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
from precision import encoder
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import export_graph_def
from tfgraphopt_openvino.build import properties
from zoo import keras_models, pretrained
from zoo.frozen import Array, FrozenModel, Input

BERT = "BERT-base"
MODELS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", BERT, "PNet", "RNet", "ONet", "BasicPitch")
PRECISIONS = ("fp32", "int8")
_TOKENS, _VOCABULARY = 128, 1000

_SINGLE_ONLY = frozenset({BERT})
"""Models that are not quantised here: their calibration graphs take gigabytes."""

Call = Callable[[], object]
Session = Callable[[Sequence[Array]], Sequence[Array]]


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
    ours: Mapping[str, float]
    errors: Mapping[str, float]
    engines: Mapping[str, str]


@attrs.frozen(eq=False)
class Encoder(FrozenModel):
    """An encoder of BERT-base's dimensions."""

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Token ids and a mask."""
        return encoder.encoder_feeds(batch, _TOKENS, _VOCABULARY, seed + 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}")
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


def build(name: str) -> FrozenModel:
    """A frozen model of the zoo, or the encoder."""
    if name == BERT:
        graph_def, outputs = encoder.encoder(12, 768, 12, _TOKENS, _VOCABULARY)
        inputs = (Input("ids", "int32", (None, _TOKENS)), Input("mask", "float32", (None, _TOKENS)))
        return Encoder(name, graph_def, inputs, outputs)
    return pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)


def measure(
    name: str, batches: Sequence[int], repeats: int, precisions: Sequence[str], timer: Timer = WALL
) -> list[Measured]:
    """Measure one model."""
    model = build(name)
    feeds = {batch: [model.feeds(batch)[i.name] for i in model.inputs] for batch in batches}
    with tempfile.TemporaryDirectory(prefix="tfgraphopt-") as folder:
        ours = _sessions(model, feeds, [p for p in precisions if p == "fp32" or name not in _SINGLE_ONLY], Path(folder))
        original, empty = _session(model, model.graph_def), _hand_through(model)
        rows = []
        for batch, arrays in feeds.items():
            alone = _openvino(model, arrays)
            gc.collect()  # TensorFlow's Python graphs are cycles, each with the weights
            calls: list[Call] = [partial(original, arrays), alone, partial(empty, arrays)]
            calls += [partial(f, arrays) for f in ours.values()]
            plain, theirs, nothing, *seconds = _take_turns(calls, repeats, timer)
            del alone, calls
            checked = {p: _checked(call, arrays, original(arrays)) for p, call in ours.items()}
            errors, engines = ({p: found[i] for p, found in checked.items()} for i in (0, 1))
            rows.append(
                Measured(name, batch, plain, theirs, nothing, dict(zip(ours, seconds, strict=True)), errors, engines)  # type: ignore[arg-type]
            )
    return rows


def _sessions(
    model: FrozenModel, feeds: Mapping[int, Sequence[Array]], precisions: Sequence[str], folder: Path
) -> dict[str, Session]:
    """Our versions. A large model is in memory often enough: nothing but the sessions is kept."""
    made = {}
    for precision in precisions:
        graph_def = _optimise(model, feeds, precision, folder)
        gc.collect()
        if graph_def is not None:
            made[precision] = _session(model, graph_def)
    return made


def _checked(call: Session, arrays: Sequence[Array], expected: Sequence[Array]) -> tuple[float, str]:
    """The largest error of a version, and what ran its engine nodes."""
    tfgraphopt.runtime.reset_counters()
    error = max(_error(a, b) for a, b in zip(call(arrays), expected, strict=True))
    return error, _engines(tfgraphopt.runtime.counters())


def _optimise(model: FrozenModel, feeds: Mapping[int, Sequence[Array]], precision: str, folder: Path) -> object:
    """Engines from the smallest to the largest batch, which are compiled for on their own, with plans in files of ``folder``.

    None where nothing can be quantised.
    """
    sizes = sorted(feeds)
    shapes = {
        node.name: tgo.ShapeRange(*(feeds[b][i].shape for b in (sizes[0], sizes[len(sizes) // 2], sizes[-1])))
        for i, node in enumerate(model.inputs)
    }
    config = tgo.Config(
        engine="openvino", precision=precision, input_shapes=shapes, engine_dir=folder, max_embedded_bytes=1,
        options={"engine_cache": False},
    )  # fmt: skip
    data = None if precision == "fp32" else [model.feeds(sizes[-1], seed) for seed in (1, 2)]
    try:
        return tgo.optimize_graph_def(model.graph_def, model.outputs, config, calibration_data=data).graph_def
    except ConfigError as error:
        if "nothing in this graph can be quantised" not in str(error):
            raise
        return None


def _session(model: FrozenModel, graph_def: object) -> Session:
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=_graph(graph_def))
    call = session.make_callable([f"{o}:0" for o in model.outputs], [f"{i.name}:0" for i in model.inputs])
    return lambda arrays: call(*arrays)


def _hand_through(model: FrozenModel) -> Session:
    """A session that returns copies of its inputs."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        fed = [tf.compat.v1.placeholder(i.dtype, i.shape) for i in model.inputs]
        call = tf.compat.v1.Session(graph=graph).make_callable([tf.identity(p) for p in fed], fed)
    return lambda arrays: call(*arrays)


def _openvino(model: FrozenModel, arrays: Sequence[Array]) -> Call:
    """OpenVINO on the original graph, compiled for these shapes; inputs and outputs are not copied."""
    import openvino as ov
    import tensorflow as tf

    converted = _converted(model)
    converted.reshape({f"{i.name}:0": list(a.shape) for i, a in zip(model.inputs, arrays, strict=True)})
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
    ours = {**properties(tgo.Config(engine="openvino")), "INFERENCE_NUM_THREADS": threads}
    request = ov.Core().compile_model(converted, "CPU", ours).create_infer_request()
    named = {f"{i.name}:0": a for i, a in zip(model.inputs, arrays, strict=True)}
    return lambda: request.infer(named, share_inputs=True, share_outputs=True)


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
    ratios = ("speed-up", "ours / alone", "(ours - empty) / alone", "int8 gain")
    for name in ("model", "batch", "TensorFlow", "OpenVINO alone", "empty call", *ours, *ratios, "error", "engines"):
        shown.add_column(name, justify="left" if name in ("model", "engines") else "right")
    for r in rows:
        milliseconds = [_ms(r.tensorflow), _ms(r.openvino), _ms(r.empty), *(_ms(r.ours.get(p)) for p in precisions)]
        first = r.ours.get("fp32")
        faster = [_ratio(r.tensorflow, first, "x"), _ratio(first, r.openvino)]
        faster += [
            _ratio(None if first is None else first - r.empty, r.openvino),
            _ratio(first, r.ours.get("int8"), "x"),
        ]
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
