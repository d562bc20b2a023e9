"""CPU latency side by side: plain TensorFlow, the optimised graph inside TensorFlow (OpenVINO engines), and OpenVINO alone.

``python -m benchmarks.cpu [MODEL ...] [--batches 1 8] [--repeats 15]`` with ``tests`` on the path. One process and one run a
model: the versions take turns, so that whatever else the machine does hits all of them; the table shows medians. OpenVINO alone
reads the original frozen graph with its own TensorFlow frontend, is compiled for exactly the batch it runs and with the same
properties as our engines, and reads and writes its caller's memory. A call of a TensorFlow session that only hands its inputs
through is measured as well: what a graph inside TensorFlow costs before anything is computed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import attrs
import numpy as np
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
from tfgraphopt.graphdef import export_graph_def
from tfgraphopt_openvino.build import properties
from zoo import keras_models, pretrained
from zoo.frozen import Array, FrozenModel

MODELS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", "PNet", "RNet", "ONet", "BasicPitch")
"""BERT-base is missing: the zoo has no generator for it."""

Call = Callable[[], object]


@attrs.frozen
class Measured:
    """Median seconds of the versions on one batch size, and the largest relative error of ours."""

    model: str
    batch: int
    tensorflow: float
    ours: float
    openvino: float
    empty: float
    error: float
    engines: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=15, help="runs of each version")
    options = parser.parse_args(arguments)
    rows = [row for name in options.models for row in measure(name, options.batches, options.repeats)]
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table(rows))
    return 0


def build(name: str) -> FrozenModel:
    """A frozen model of the zoo."""
    return pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)


def measure(name: str, batches: Sequence[int], repeats: int) -> list[Measured]:
    """Measure one model."""
    model = build(name)
    feeds = {batch: [model.feeds(batch)[i.name] for i in model.inputs] for batch in batches}
    result = _optimise(model, feeds)
    import tfgraphopt.runtime

    original, optimised = _session(model, model.graph_def), _session(model, result.graph_def)
    empty = _hand_through(model)
    rows = []
    for batch, arrays in feeds.items():
        tfgraphopt.runtime.reset_counters()
        alone = _openvino(model, arrays)
        calls: list[Call] = [partial(original, arrays), partial(optimised, arrays), alone, partial(empty, arrays)]
        plain, ours, theirs, nothing = _take_turns(calls, repeats)
        error = max(_error(a, b) for a, b in zip(optimised(arrays), original(arrays), strict=True))
        engines = _engines(tfgraphopt.runtime.counters())
        rows.append(Measured(name, batch, plain, ours, theirs, nothing, error, engines))
    return rows


def _optimise(model: FrozenModel, feeds: Mapping[int, Sequence[Array]]) -> tgo.Result:
    """Engines from the smallest to the largest batch, which are compiled for on their own."""
    sizes = sorted(feeds)
    shapes = {
        node.name: tgo.ShapeRange(*(feeds[b][i].shape for b in (sizes[0], sizes[len(sizes) // 2], sizes[-1])))
        for i, node in enumerate(model.inputs)
    }
    return tgo.optimize_graph_def(model.graph_def, model.outputs, tgo.Config(engine="openvino", input_shapes=shapes))


def _session(model: FrozenModel, graph_def: object) -> Callable[[Sequence[Array]], Sequence[Array]]:
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=_graph(graph_def))
    call = session.make_callable([f"{o}:0" for o in model.outputs], [f"{i.name}:0" for i in model.inputs])
    return lambda arrays: call(*arrays)


def _hand_through(model: FrozenModel) -> Callable[[Sequence[Array]], Sequence[Array]]:
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
    """The original graph read by OpenVINO; with its function calls inlined where OpenVINO cannot read them (ConvNeXt)."""
    import openvino as ov

    try:
        return ov.convert_model(_graph(model.graph_def))
    except ov.frontend.OpConversionFailure:
        inline = tgo.Config(engine="none", pipeline="inline-functions")
        return ov.convert_model(
            _graph(export_graph_def(tgo.optimize_graph_def(model.graph_def, model.outputs, inline).module))
        )


def _graph(graph_def: object) -> Any:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    return graph


def _take_turns(calls: Sequence[Call], repeats: int) -> list[float]:
    """The median seconds of each call; two rounds warm up."""
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 2):
        for call, taken in zip(calls, seconds, strict=True):
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
    return [float(np.median(taken[2:])) for taken in seconds]


def _error(made: Array, expected: Array) -> float:
    return float(np.abs(made - expected).max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-30))


def _engines(counters: Mapping[str, object]) -> str:
    """How many engine nodes ran, and why any did not."""
    reasons = {reason for count in counters.values() for reason in count.fallbacks}  # type: ignore[attr-defined]
    return f"{len(counters)}" + (f" ({', '.join(sorted(reasons))})" if reasons else "")


def table(rows: Sequence[Measured]) -> Table:
    """Milliseconds and ratios."""
    shown = Table(title=f"CPU latency, {len(os.sched_getaffinity(0))} cores, median ms")
    for name in (
        "model", "batch", "TensorFlow", "ours", "OpenVINO alone", "empty call", "speed-up", "ours / alone",
        "(ours - empty) / alone", "error", "engines",
    ):  # fmt: skip
        shown.add_column(name, justify="left" if name in ("model", "engines") else "right")
    for r in rows:
        milliseconds = (f"{s * 1e3:.2f}" for s in (r.tensorflow, r.ours, r.openvino, r.empty))
        ratios = (
            f"{r.tensorflow / r.ours:.2f}x",
            f"{r.ours / r.openvino:.2f}",
            f"{(r.ours - r.empty) / r.openvino:.2f}",
        )
        shown.add_row(r.model, str(r.batch), *milliseconds, *ratios, f"{r.error:.1e}", r.engines)
    return shown


if __name__ == "__main__":
    sys.exit(main())
