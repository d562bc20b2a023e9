"""Face detection and note transcription with pretrained networks: TensorFlow against the same graphs with engines.

TensorRT engines are built everywhere and run where there is a GPU (TensorFlow runs their segments elsewhere); OpenVINO engines,
where OpenVINO is installed, run on the CPU of this machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from rich.console import Console
from rich.table import Table

from demo.networks import Optimised, Runner, optimise
from tfgraphopt.cli.common import progress_bar
from tfgraphopt.tables import segment_table, summary_lines
from zoo import detect, pretrained

T = TypeVar("T")
Networks = Mapping[str, Runner]
TENSORRT, OPENVINO = "tensorrt", "openvino"
LABELS = {TENSORRT: "TensorRT engines", OPENVINO: "OpenVINO engines"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when everything is the same before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="where the optimised graphs go")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 130)
    optimised = {TENSORRT: {name: _optimise(name, options.out, console) for name in pretrained.NAMES}}
    if importlib.util.find_spec("openvino") is None:
        console.print('\nOpenVINO is not installed (pip install "tfgraphopt[openvino]"): no engines for this CPU')
    else:
        optimised[OPENVINO] = _optimise_for_cpu(options.out, console)
    console.print("\nrunning all versions (the engine op is compiled on first use)...")
    import tfgraphopt.runtime

    versions = _versions(optimised)
    same = [
        _faces(versions, console),
        _notes(optimised[TENSORRT]["BasicPitch"].model.feeds(1)["audio"], versions, console),
    ]
    _counters(tfgraphopt.runtime.counters(), console)
    console.print(f"\noptimised graphs: {options.out.resolve()}")
    return 0 if all(same) else 1


def _optimise(name: str, folder: Path, console: Console) -> Optimised:
    """Build TensorRT engines and show what became of each part of the network."""
    console.rule(name)
    with progress_bar() as progress:
        done = optimise(name, folder, progress)
    console.print(segment_table(done.result.report))
    for line in summary_lines(done.result.report):
        console.print(line, markup=False, highlight=False)
    left = [v for v in done.result.report.verdicts.values() if v.status not in ("converted", "simplified")]
    for verdict in left:
        console.print(
            f"  in TensorFlow: {verdict.node} ({verdict.op}): {verdict.reason}", markup=False, highlight=False
        )
    return done


def _optimise_for_cpu(folder: Path, console: Console) -> dict[str, Optimised]:
    """Build OpenVINO engines, one line a network."""
    console.rule("the same networks for this CPU, by OpenVINO")
    done = {}
    for name in pretrained.NAMES:
        with progress_bar() as progress:
            done[name] = optimise(name, folder, progress, OPENVINO)
        for segment in done[name].result.report.segments.values():
            built = f"{segment.engine}, {segment.engine_bytes / 1e6:.2f} MB in {segment.build_seconds:.1f} s"
            state = built if segment.status == "built" else f"{segment.status}: {segment.reason}"
            console.print(f"{name}: {segment.nodes} nodes in one engine, {state}", markup=False, highlight=False)
    return done


def _versions(optimised: Mapping[str, Mapping[str, Optimised]]) -> Mapping[str, Networks]:
    """Per label the networks as functions, the original ones first."""
    original = {n: Runner(d.model.graph_def, d.model) for n, d in optimised[TENSORRT].items()}
    engines = {
        LABELS[engine]: {n: Runner(d.result.graph_def, d.model) for n, d in networks.items()}
        for engine, networks in optimised.items()
    }
    return {"TensorFlow": original, **engines}


def _faces(versions: Mapping[str, Networks], console: Console) -> bool:
    """Detect the faces in scikit-image's astronaut photograph with every version of the networks."""
    photograph = detect.astronaut()
    runs = {
        label: _timed(partial(detect.detect, photograph, *(networks[name] for name in pretrained.MTCNN)))
        for label, networks in versions.items()
    }
    table = Table(title="faces in the astronaut photograph (512 x 512)")
    for column in ("graphs", "faces", "boxes x1 y1 x2 y2", "scores", "median ms", "speed-up"):
        table.add_column(column)
    before, plain = runs["TensorFlow"]
    for label, (found, seconds) in runs.items():
        boxes = "\n".join(" ".join(f"{v:.2f}" for v in box) for box in found.boxes)
        scores = "\n".join(f"{s:.5f}" for s in found.scores)
        table.add_row(label, str(len(found.boxes)), boxes, scores, f"{seconds * 1e3:.0f}", f"{plain / seconds:.2f}x")
    console.print(table)
    same = len(before.boxes) > 0 and all(detect.same_faces(before, found) for found, _ in runs.values())
    console.print(f"the detected boxes are {'the same' if same else 'NOT the same'} before and after")
    return same


def _notes(audio: Any, versions: Mapping[str, Networks], console: Console) -> bool:
    """Transcribe two seconds of synthesised melody."""
    table = Table(title=f"basic-pitch on {audio.shape[1] / 22050:.1f} s of audio")
    for column in ("graphs", "largest difference", "median ms", "speed-up"):
        table.add_column(column)
    runs = {label: _timed(partial(networks["BasicPitch"], audio)) for label, networks in versions.items()}
    before, plain = runs["TensorFlow"]
    differences = []
    for label, (found, seconds) in runs.items():
        differences.append(max(float(np.abs(a - b).max()) for a, b in zip(before, found, strict=True)))
        table.add_row(label, f"{differences[-1]:.2g}", f"{seconds * 1e3:.0f}", f"{plain / seconds:.2f}x")
    console.print(table)
    return max(differences) < 1e-3


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """The last result and the median seconds of five calls after one to warm up."""
    result, times = call(), []
    for _ in range(5):
        started = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - started)
    return result, float(np.median(times))


def _counters(counters: Mapping[str, Any], console: Console) -> None:
    """How often engine nodes ran, by kind of engine and by what ran them."""
    runs: dict[str, Counter[str]] = {}
    for node, count in counters.items():
        kind = LABELS[TENSORRT] if node.startswith("TRTEngineOp") else LABELS[OPENVINO]
        seen = runs.setdefault(kind, Counter())
        seen["the engine"] += count.engine_runs
        seen.update({f"TensorFlow ({reason})": times for reason, times in count.fallbacks.items()})
    for kind, seen in runs.items():
        console.print(f"{kind}: " + ", ".join(f"{times} times run by {what}" for what, times in seen.items()))


if __name__ == "__main__":
    sys.exit(main())
