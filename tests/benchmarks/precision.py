"""What float16 costs and saves: share of FLOPs, casts, engine bytes, and the predicted error on real inputs.

``python -m benchmarks.precision [MODEL ...] [--precision fp16]`` with ``tests`` and ``plugins`` on the path. Engines are built by
the real TensorRT for RTX; errors are those of the output furthest off against TensorFlow in float32, predicted by the meaning of
the layers in the planned precision: by the rules alone, with measured ranges, and "naive", where every layer that exists in the
low precision is in it. The encoder is a small transformer of plain ops with random weights (4 layers, hidden size 256); BERT has
base size, sequences of 64 tokens, and random weights too: the zoo has no pretrained one. Overflowing is a layer normalisation of
large numbers beside a softmax over logits beyond 65504.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import attrs
import numpy as np
from precision import encoder
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
from tfgraphopt import plugins
from tfgraphopt.verification import Errors, VerifyRequest
from zoo import keras_models, pretrained, transformers

MODELS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "ONet", "BasicPitch", "Encoder", "BERT", "Overflowing")
BATCH = 4


@attrs.frozen
class Job:
    """A frozen model with real inputs."""

    name: str
    graph_def: Any
    outputs: tuple[str, ...]
    feeds: Mapping[str, Any]
    shapes: Mapping[str, tgo.ShapeRange] | None = None

    def config(self, precision: str, options: Mapping[str, Any]) -> tgo.Config:
        """What to optimise with."""
        return tgo.Config(
            precision=precision, max_batch_size=BATCH, input_shapes=self.shapes or {}, options={"precision": options}
        )  # fmt: skip


def job(name: str) -> Job:
    """The model called ``name`` and two inputs for it."""
    if name == "Encoder":
        return Job(name, *encoder.encoder(), encoder.encoder_feeds())
    if name == "Overflowing":
        return Job(
            name, *encoder.overflowing(), {"x": np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)}
        )
    if name in transformers.NAMES:
        built = transformers.build(name, transformers.BASE)
        shapes = {node.name: tgo.ShapeRange((1, 16), (2, 64), (4, 128)) for node in built.inputs}
        return Job(name, built.graph_def, tuple(built.outputs), transformers.feeds(built, length=64), shapes)
    model = pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)
    return Job(name, model.graph_def, tuple(model.outputs), model.feeds(2))


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, predict and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--precision", default="fp16", choices=("fp16", "bf16"))
    options = parser.parse_args(arguments)
    table = Table(title=f"{options.precision} against fp32")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "model" else "right")
    tables = plugins.load(strict=True)
    for name in options.models:
        table.add_row(*row(job(name), options.precision, tables))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0


_COLUMNS = (
    "model", "layers low/fp32", "FLOPs low", "casts", "kernels", "confirmed", "fp32 MB", "low MB", "ratio", "max rel", "SNR dB",
    "measured", "naive",
)  # fmt: skip


def row(job: Job, precision: str, tables: plugins.Tables) -> tuple[str, ...]:
    """One row of the table."""
    full, low = (_report(job, p, tables) for p in ("fp32", precision))
    details = [s.details["precision"] for s in low.segments.values()]
    bytes_full, bytes_low = (sum(s.engine_bytes for s in r.segments.values()) for r in (full, low))
    ours = _worst(job, precision, tables, {})
    measured = _worst(job, precision, tables, {}, measure=True)
    naive = _worst(job, precision, tables, {"lower": ["*"]})
    audits = [d["audit"] for d in details]
    confirmed = sum(a["confirmed"] for a in audits)
    checked = confirmed + sum(len(a["mismatches"]) + len(a["not_named"]) for a in audits)
    kinds = [
        f"{n} {kind}"
        for a in audits
        for kind, n in a["kernels_by_type"].items()
        if kind in ("Float", "Half", "BFloat16")
    ]
    return (
        job.name, f"{sum(d['low_layers'] for d in details)}/{sum(d['fp32_layers'] for d in details)}",
        f"{min(d['flops_share'] for d in details):.1%}", str(sum(d["casts"] for d in details)),
        ", ".join(kinds), f"{confirmed}/{checked}",
        f"{bytes_full / 1e6:.2f}", f"{bytes_low / 1e6:.2f}", f"{bytes_low / bytes_full:.2f}", _shown(ours), f"{ours.snr_db:.1f}",
        _shown(measured), _shown(naive),
    )  # fmt: skip


def _shown(errors: Errors) -> str:
    return f"{errors.max_rel:.2e}" if not errors.bad else f"{errors.bad} inf/nan"


def _report(job: Job, precision: str, tables: plugins.Tables) -> Any:
    return tgo.optimize_graph_def(job.graph_def, job.outputs, job.config(precision, {}), tables=tables).report


def _worst(
    job: Job, precision: str, tables: plugins.Tables, options: Mapping[str, Any], *, measure: bool = False
) -> Errors:
    """The errors of the output that is furthest off."""
    config = job.config(precision, options)
    request = VerifyRequest(job.graph_def, job.outputs, config, tables, job.feeds, measure=measure)
    (found,) = tables.call("tfgraphopt_verify", {"request": request})
    return max(found.outputs.values(), key=lambda e: e.max_rel)


if __name__ == "__main__":
    sys.exit(main())
