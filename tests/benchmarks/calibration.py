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
    seconds: dict[str, list[float]] = {key: [] for key in sessions}
    for index in range(rounds + 2):
        for key, session in sessions.items():
            started = time.perf_counter()
            session.run(fetches, feeds)
            if index >= 2:
                seconds[key].append(time.perf_counter() - started)
    found = {key: statistics.median(values) for key, values in seconds.items()}
    seen = recorded(graph)
    elements = sum(t.count for t in seen.tensors.values()) / max(seen.batches, 1)
    print(f"{name} batch {batch}: {len(seen.tensors)} tensors, {elements / 1e6:.1f} M elements a run")
    for key, value in found.items():
        print(f"  {key:10} median {value * 1e3:7.1f} ms, fastest {min(seconds[key]) * 1e3:7.1f} ms")
    fastest = min(seconds["recording"]) / min(seconds["plain"])
    print(f"  overhead: {found['recording'] / found['plain'] - 1:+.1%} of medians, {fastest - 1:+.1%} of the fastest")


if __name__ == "__main__":
    name, *numbers = sys.argv[1:] or ["ResNet50"]
    main(name, *map(int, numbers))
