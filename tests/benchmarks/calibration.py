"""What recording costs: a model plain and as a calibration graph, in turns, in one process.

python tests/benchmarks/calibration.py [MODEL] [BATCH] [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import tensorflow as tf

from tfgraphopt import Config, plugins
from tfgraphopt_int8.calibrating import calibration_graph, recorded
from zoo import keras_models


def _session(graph_def: Any) -> Any:
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    return tf.compat.v1.Session(graph=graph)


def main(name: str = "ResNet50", batch: int = 8, rounds: int = 9) -> None:
    """Print medians and their ratio."""
    model = keras_models.build(name)
    config = Config(precision="int8", engine="none", max_batch_size=batch)
    graph = calibration_graph(model.graph_def, model.outputs, config, plugins.load())
    feeds = {f"{k}:0": v for k, v in model.feeds(batch, 0).items()}
    fetches = [f"{o}:0" for o in model.outputs]
    sessions = {"plain": _session(model.graph_def), "recording": _session(graph.graph_def())}
    wall: dict[str, list[float]] = {key: [] for key in sessions}
    processor: dict[str, list[float]] = {key: [] for key in sessions}
    for index in range(rounds + 2):
        for key, session in sessions.items():
            started, used = time.perf_counter(), time.process_time()
            session.run(fetches, feeds)
            if index >= 2:
                wall[key].append(time.perf_counter() - started)
                processor[key].append(time.process_time() - used)
    seen = recorded(graph)
    elements = sum(t.count for t in seen.tensors.values()) / max(seen.batches, 1)
    print(f"{name} batch {batch}: {len(seen.tensors)} tensors, {elements / 1e6:.1f} M elements a run")
    for kind, seconds in (("wall", wall), ("processor", processor)):
        for key, values in seconds.items():
            print(
                f"  {kind} {key:10} median {statistics.median(values) * 1e3:7.1f} ms, fastest {min(values) * 1e3:7.1f} ms"
            )
        print(f"  overhead: {_overhead(seconds)}")


def _overhead(seconds: dict[str, list[float]]) -> str:
    """By the median of the ratios of runs one after the other, which what else the machine does hits alike; and others."""
    plain, recording = seconds["plain"], seconds["recording"]
    pairs = statistics.median(r / p for p, r in zip(plain, recording, strict=True))
    medians, fastest = (f(recording) / f(plain) for f in (statistics.median, min))
    return f"{pairs - 1:+.1%} of pairs (median), {medians - 1:+.1%} of medians, {fastest - 1:+.1%} of the fastest"


if __name__ == "__main__":
    name, *numbers = sys.argv[1:] or ["ResNet50"]
    main(name, *map(int, numbers))
