"""What becomes of every architecture of keras.applications: one row a model, as a Markdown table.

    python -m benchmarks.architectures ResNet50 MobileNetV2      (from tests/; all 40 without arguments)
    python -m benchmarks.architectures BERT GPT2 ViT T5Encoder   (base size, batches up to 8, sequences up to 512)

Columns: nodes of the frozen graph, segments, nodes left in TensorFlow and why (not counting inputs, outputs and constants), layers
and transposes that move data in the built networks, megabytes permuted before and after the layout pass (unknown dimensions
counted as 8), engine bytes, seconds of the builder, seconds of everything else, and the largest error of the lowered bodies'
meaning against TensorFlow, relative to the largest output. ``--engine none`` looks at the lowered bodies without building (no
engine bytes, and transposes counted in the body); ``--no-error`` saves the two runs on the CPU and the measured statistics.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from main_job.jobs import lowered_errors

from tfgraphopt import Config, ShapeRange
from tfgraphopt.ir import Graph
from tfgraphopt.optimization import Result, optimize_graph_def
from tfgraphopt.report import SegmentReport, Verdict
from tfgraphopt_trt.build import moves_data
from zoo import keras_models, transformers
from zoo.frozen import FrozenModel

INSIDE = ("converted", "simplified", "not a candidate")
TRANSPOSE = "trt.transpose"
WORKSPACE = 8 << 30  # the default of 1 GiB is too little for EfficientNetB6 and B7 in batches of 16


@attrs.frozen
class Row:
    """What was found of one model; ``left`` are the ops that stay in TensorFlow with their reasons."""

    model: str
    nodes: int
    segments: int
    left: str
    layers: int
    transposes: int
    permuted: str
    engine_mb: float
    build_seconds: float
    other_seconds: float
    error: float

    def __str__(self) -> str:
        cells = (
            self.model, self.nodes, self.segments, self.left, self.layers, self.transposes, self.permuted,
            f"{self.engine_mb:.1f}", f"{self.build_seconds:.1f}", f"{self.other_seconds:.0f}", f"{self.error:.0e}",
        )  # fmt: skip
        return "| " + " | ".join(str(c) for c in cells) + " |"


HEAD = (
    "model", "nodes", "segments", "left in TensorFlow", "layers", "transposes", "MB permuted before, after", "engine MB",
    "build s", "other s", "error",
)  # fmt: skip


def measure(model: FrozenModel, engine: str, *, with_error: bool) -> Row:
    """Optimise ``model`` and look at what came out."""
    config = Config(
        engine=engine, input_shapes=_ranges(model), max_workspace_size_bytes=WORKSPACE, options={"engine_cache": False}
    )  # fmt: skip
    result = optimize_graph_def(model.graph_def, model.outputs, config)
    report = result.report
    segments = list(report.segments.values())
    errors = lowered_errors(result, model.graph_def, _feeds(model)) if with_error else {}
    return Row(
        model.name, report.nodes, len(segments), left(report.verdicts.values(), segments),
        sum(sum(s.layers.values()) for s in segments) or sum(len(g) for g in result.module.lowered.values()),
        transposes(result, segments), _permuted(segments), sum(s.engine_bytes for s in segments) / 1e6,
        report.build_seconds, report.seconds - report.build_seconds, max(errors.values(), default=float("nan")),
    )  # fmt: skip


def left(verdicts: Iterable[Verdict], segments: Iterable[SegmentReport]) -> str:
    """The nodes that TensorFlow still runs, by op and reason, and the segments that were not built."""
    outside = Counter((v.op, v.reason) for v in verdicts if v.status not in INSIDE)
    found = [f"{count} {op} ({reason})" for (op, reason), count in outside.most_common()]
    failed = [f"{s.name}: {s.reason.splitlines()[0]}" for s in segments if s.reason]
    return "; ".join([*found, *failed]) or "none"


def transposes(result: Result, segments: Iterable[SegmentReport]) -> int:
    """Transposes that move data: in the built networks, or where nothing was built in the lowered bodies."""
    built = [s.transposes for s in segments if s.transposes is not None]
    return sum(built) if built else sum(_moving(g) for g in result.module.lowered.values())


def _moving(graph: Graph) -> int:
    return sum(n.op == TRANSPOSE and moves_data(n.attrs["perm"], _dims(n.inputs[0].shape.known())) for n in graph)


def _dims(dims: Sequence[int | None]) -> list[int]:
    return [-1 if d is None else d for d in dims]


def _permuted(segments: Iterable[SegmentReport]) -> str:
    details = [s.details for s in segments]
    names = ("permuted_bytes_before_layout", "permuted_bytes")
    return ", ".join(f"{sum(d.get(name, 0) for d in details) / 1e6:.1f}" for name in names)


def _ranges(model: FrozenModel) -> dict[str, ShapeRange]:
    """Batches of 1 to 16 of the sizes that the model is made for; batches of 1 to 8 of sequences of 1 to 512."""
    if model.name in transformers.NAMES and model.name != "ViT":
        return {node.name: ShapeRange((1, 1), (1, 128), (8, 512)) for node in model.inputs}
    sizes = {name.partition(":")[0]: array.shape[1:] for name, array in model.feeds(1, 0).items()}
    return {name: ShapeRange((1, *size), (16, *size), (16, *size)) for name, size in sizes.items()}


def _feeds(model: FrozenModel) -> Mapping[str, Any]:
    return transformers.feeds(model, length=64) if model.name in transformers.NAMES else model.feeds(2)


def _model(name: str, *, measured: bool, pixels: int | None) -> FrozenModel:
    if name in transformers.NAMES:
        return transformers.build(name, transformers.BASE)
    return keras_models.build(name) if measured else keras_models.build_unmeasured(name, pixels=pixels)


def rows(names: Iterable[str], engine: str, *, with_error: bool, pixels: int | None = None) -> Iterator[str]:
    """The lines of the table, as they are found."""
    yield "| " + " | ".join(HEAD) + " |"
    yield "| --- " * len(HEAD) + "|"
    for name in names:
        yield str(measure(_model(name, measured=with_error, pixels=pixels), engine, with_error=with_error))
        gc.collect()


def main(arguments: Sequence[str]) -> None:
    """Measure the named models, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names from zoo.keras_models.NAMES")
    parser.add_argument("--engine", default="tensorrt", help="none: look at the lowered bodies without building")
    parser.add_argument("--no-error", action="store_true", help="do not run the bodies' meaning in TensorFlow")
    parser.add_argument("--pixels", type=int, help="edge of the images, with --no-error")
    options = parser.parse_args(arguments)
    names, measured = options.models or keras_models.NAMES, not options.no_error
    for line in rows(names, options.engine, with_error=measured, pixels=options.pixels):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
