"""How many transposes and layers a model's TensorRT networks have, and how exact the lowered bodies are.

    python -m benchmarks.transposes ResNet50 MobileNetV2      (from tests/; all cached models without arguments)

Prints one line a model: layers and elementwise layers of the built networks, transposes that move data in them, megabytes
permuted before and after the layout pass (unknown dimensions counted as 8), the largest error of the bodies' meaning against
TensorFlow relative to the largest output, and seconds spent in the passes and in the builder.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import tensorflow as tf

from tfgraphopt import Config, ShapeRange
from tfgraphopt.optimization import Result, optimize_graph_def
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.meaning import evaluate
from zoo import keras_models
from zoo.frozen import FrozenModel

PASSES = ("layout", "trt-canonicalize")


@attrs.frozen
class Row:
    """What was found of one model."""

    name: str
    segments: int
    layers: int
    elementwise: int
    transposes: int
    before: int
    after: int
    error: float
    pass_seconds: float
    build_seconds: float
    trouble: str

    def __str__(self) -> str:
        return (
            f"{self.name:20} {self.segments:3} {self.layers:6} {self.elementwise:6} {self.transposes:6} "
            f"{self.before / 1e6:10.1f} {self.after / 1e6:8.1f} {self.error:9.1e} {self.pass_seconds:7.2f} "
            f"{self.build_seconds:7.2f} {self.trouble}"
        )


HEAD = (
    f"{'model':20} {'seg':>3} {'layers':>6} {'elemw.':>6} {'transp':>6} {'MB before':>10} {'MB after':>8} {'error':>9} "
    f"{'passes':>7} {'build':>7}"
)


def measure(model: FrozenModel, engine: str) -> Row:
    """Optimise ``model`` and look at what came out."""
    result = optimize_graph_def(model.graph_def, model.outputs, Config(engine=engine, input_shapes=_ranges(model)))
    segments = result.report.segments.values()
    return Row(
        model.name, len(segments), sum(sum(s.layers.values()) for s in segments),
        sum(s.layers.get("ELEMENTWISE", 0) for s in segments), sum(s.transposes or 0 for s in segments),
        sum(s.details.get("permuted_bytes_before_layout", 0) for s in segments),
        sum(s.details.get("permuted_bytes", 0) for s in segments), error_of(model, result),
        sum(t.seconds for t in result.report.timings if t.step.partition("{")[0] in PASSES), result.report.build_seconds,
        "; ".join(s.reason.splitlines()[0] for s in segments if s.reason),
    )  # fmt: skip


def _ranges(model: FrozenModel) -> dict[str, ShapeRange]:
    """Batches of 1 to 16 of the sizes that the model is made for."""
    sizes = {name.partition(":")[0]: array.shape[1:] for name, array in model.feeds(1, 0).items()}
    return {name: ShapeRange((1, *size), (16, *size), (16, *size)) for name, size in sizes.items()}


def error_of(model: FrozenModel, result: Result) -> float:
    """The largest difference of the only segment's meaning from TensorFlow, relative to the largest output; NaN for several."""
    if len(result.module.lowered) != 1:
        return float("nan")
    (body,) = result.module.lowered.values()
    feeds = {k if ":" in k else f"{k}:0": v for k, v in model.feeds(2, 0).items()}
    wanted = _run(model, feeds)
    found = evaluate(body, layer_map(), list(feeds.values()))
    return max(float(np.abs(w - f).max() / np.abs(w).max()) for w, f in zip(wanted, found, strict=True))


def _run(model: FrozenModel, feeds: Mapping[str, Any]) -> Sequence[Any]:
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(model.graph_def, name="")
    names = [o if ":" in o else f"{o}:0" for o in model.outputs]
    with tf.compat.v1.Session(graph=graph) as session:
        found: Sequence[Any] = session.run(names, dict(feeds))
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure the named models, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="names from zoo.keras_models.NAMES")
    parser.add_argument("--engine", default="tensorrt", help="none: look at the lowered bodies without building")
    options = parser.parse_args(arguments)
    print(HEAD)
    for name in options.models or keras_models.NAMES:
        print(measure(keras_models.build(name), options.engine), flush=True)
        gc.collect()


if __name__ == "__main__":
    main(sys.argv[1:])
