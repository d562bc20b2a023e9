"""Face detection and note transcription with pretrained networks: TensorFlow against the same graphs with TensorRT engines."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from demo.networks import Optimised, Runner, optimise
from rich.console import Console
from rich.table import Table
from zoo import detect, pretrained

from tfgraphopt.cli.common import progress_bar
from tfgraphopt.tables import segment_table, summary_lines


T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when everything is the same before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="where the optimised graphs go")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 130)
    optimised = {name: _optimise(name, options.out, console) for name in pretrained.NAMES}
    console.print("\nrunning both versions (the engine op is compiled on first use)...")
    import tfgraphopt.runtime

    same = [_faces(optimised, console), _notes(optimised["BasicPitch"], console)]
    _counters(tfgraphopt.runtime.counters(), console)
    console.print(f"\noptimised graphs: {options.out.resolve()}")
    return 0 if all(same) else 1


def _optimise(name: str, folder: Path, console: Console) -> Optimised:
    console.rule(name)
    with progress_bar() as progress:
        done = optimise(name, folder, progress)
    console.print(segment_table(done.result.report))
    for line in summary_lines(done.result.report):
        console.print(line, markup=False, highlight=False)
    left = [v for v in done.result.report.verdicts.values() if v.status not in ("converted", "simplified")]
    for verdict in left:
        console.print(f"  in TensorFlow: {verdict.node} ({verdict.op}): {verdict.reason}", markup=False, highlight=False)
    return done


def _runners(done: Optimised) -> tuple[Runner, Runner]:
    return Runner(done.model.graph_def, done.model), Runner(done.result.graph_def, done.model)


def _faces(optimised: dict[str, Optimised], console: Console) -> bool:
    """Detect the faces in scikit-image's astronaut photograph with the original and with the optimised networks."""
    photograph = detect.astronaut()
    runners = {name: _runners(optimised[name]) for name in pretrained.MTCNN}
    before, plain = _timed(lambda: detect.detect(photograph, *(runners[n][0] for n in pretrained.MTCNN)))
    after, ours = _timed(lambda: detect.detect(photograph, *(runners[n][1] for n in pretrained.MTCNN)))
    table = Table(title="faces in the astronaut photograph (512 x 512)")
    for column in ("graphs", "faces", "boxes x1 y1 x2 y2", "scores", "median ms"):
        table.add_column(column)
    for label, found, seconds in (("original", before, plain), ("optimised", after, ours)):
        boxes = "\n".join(" ".join(f"{v:.2f}" for v in box) for box in found.boxes)
        scores = "\n".join(f"{s:.5f}" for s in found.scores)
        table.add_row(label, str(len(found.boxes)), boxes, scores, f"{seconds * 1e3:.0f}")
    console.print(table)
    same = len(before.boxes) > 0 and detect.same_faces(before, after)
    console.print(f"the detected boxes are {'the same' if same else 'NOT the same'} before and after")
    return same


def _notes(done: Optimised, console: Console) -> bool:
    """Transcribe two seconds of synthesised melody."""
    audio = done.model.feeds(1)["audio"]
    original, optimised = _runners(done)
    before, plain = _timed(lambda: original(audio))
    after, ours = _timed(lambda: optimised(audio))
    worst = max(float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True))
    console.print(
        f"basic-pitch on {audio.shape[1] / 22050:.1f} s of audio: largest difference {worst:.2g}; "
        f"{plain * 1e3:.0f} ms before, {ours * 1e3:.0f} ms after"
    )
    return worst < 1e-3


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """The last result and the median seconds of five calls after one to warm up."""
    result, times = call(), []
    for _ in range(5):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return result, float(np.median(times))


def _counters(counters: object, console: Console) -> None:
    assert isinstance(counters, dict) or hasattr(counters, "items")
    runs: dict[str, int] = {}
    for count in counters.values():  # type: ignore[union-attr]
        runs["engine"] = runs.get("engine", 0) + count.engine_runs
        for reason, times in count.fallbacks.items():
            runs[f"TensorFlow ({reason})"] = runs.get(f"TensorFlow ({reason})", 0) + times
    console.print("engine nodes ran: " + ", ".join(f"{times} times by {what}" for what, times in runs.items()))


if __name__ == "__main__":
    sys.exit(main())
