"""Top-1 of the trained networks in FP32, FP16 and INT8 by calibrator, predicted by the meaning of lowered bodies.

``python -m benchmarks.int8_accuracy [digits] [mnist]`` with ``tests`` on the path; the last column is INT8 executed by OpenVINO.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from int8.digits import Trained, accuracy, digits, mnist
from int8.running import in_session, meaning_of, quantised
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt import plugins
from tfgraphopt_int8.calibrators import CALIBRATORS

DATA: Mapping[str, Callable[[], Trained]] = {"digits": digits, "mnist": mnist}
CHOICES: Mapping[str, Any] = {
    **{c.name: c.name for c in CALIBRATORS}, "entropy, first-bin": {"name": "entropy", "flatten": "first-bin"},
}  # fmt: skip
_BATCH = 50


def main(names: Sequence[str]) -> None:
    """Print the table."""
    table = Table(title="top-1 in percent")
    for name in ("data", "FP32", "FP16", *CHOICES, "executed (default)"):
        table.add_column(name, justify="left" if name == "data" else "right")
    for name in names or DATA:
        table.add_row(name, *(f"{found:.1f}" for found in row(DATA[name]())))
    Console(width=None if sys.stdout.isatty() else 150).print(table)


def row(trained: Trained) -> Iterator[float]:
    """The accuracies of one network."""
    yield accuracy(in_session(trained.graph_def, [trained.output], {trained.input: trained.test})[0], trained.labels)
    config = tgo.Config(precision="fp16", engine="none", max_batch_size=64)
    half = tgo.optimize_graph_def(trained.graph_def, [trained.output], config, tables=plugins.load(strict=True))
    yield accuracy(meaning_of(half, [trained.test])[0], trained.labels)
    made = quantised(trained.graph_def, [trained.output], trained.batches())
    known = {"statistics": made.config.options["int8"]["statistics"]}
    for choice in CHOICES.values():
        result = quantised(trained.graph_def, [trained.output], None, rest="fp16", calibrator=choice, **known)
        yield accuracy(meaning_of(result, [trained.test])[0], trained.labels)
    yield accuracy(executed(trained, known), trained.labels)


def executed(trained: Trained, known: Mapping[str, Any]) -> Any:
    """What OpenVINO's INT8 engines compute on the test data."""
    graph_def = quantised(trained.graph_def, [trained.output], None, engine="openvino", **known).graph_def
    parts = [trained.test[i : i + _BATCH] for i in range(0, len(trained.test), _BATCH)]
    return np.concatenate([in_session(graph_def, [trained.output], {trained.input: part})[0] for part in parts])


if __name__ == "__main__":
    main(sys.argv[1:])
