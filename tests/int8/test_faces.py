"""The pretrained face detector in INT8, on the photograph, by its own metric: faces, boxes and landmarks against those of FP32."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from demo.networks import RANGES
from openvino_engine.nets import session

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt import plugins
from zoo import detect, pretrained
from zoo.frozen import FrozenModel

pytest.importorskip("openvino", reason="OpenVINO, which executes INT8 here, is not installed")
Run = Callable[[Any], tuple[Any, ...]]


def runner(model: FrozenModel, graph_def: Any, seen: list[Any] | None = None) -> Run:
    """The network as a function; what it is called with is kept in ``seen``."""
    call = session(graph_def, [model.inputs[0].name], model.outputs)

    def run(array: Any) -> tuple[Any, ...]:
        if seen is not None:
            seen.append(array)
        return tuple(call(array))

    return run


def int8(model: FrozenModel, data: list[Any]) -> tgo.Result:
    """A network of the detector as INT8 engines of OpenVINO."""
    shapes: Mapping[str, Any] = {model.inputs[0].name: RANGES[model.name]}
    config = tgo.Config(engine="openvino", precision="int8", input_shapes=shapes, strict=True)
    return tgo.optimize_graph_def(
        model.graph_def, model.outputs, config, tables=plugins.load(strict=True), calibration_data=data
    )


def overlap(one: Any, two: Any) -> float:
    """Intersection over union of boxes x1 y1 x2 y2."""
    corner, end = np.maximum(one[:2], two[:2]), np.minimum(one[2:], two[2:])
    both = float(np.prod(np.maximum(end - corner, 0)))
    return both / (float(np.prod(one[2:] - one[:2])) + float(np.prod(two[2:] - two[:2])) - both)


@pytest.mark.slow
def test_int8_finds_the_same_face() -> None:
    """Calibrated on the mirrored photograph, asked about the original one."""
    models = {name: pretrained.build(name) for name in pretrained.MTCNN}
    photograph = detect.astronaut()
    inputs: dict[str, list[Any]] = {name: [] for name in models}
    detect.detect(photograph[:, ::-1], *(runner(m, m.graph_def, inputs[n]) for n, m in models.items()))
    results = {name: int8(model, inputs[name]) for name, model in models.items()}
    layers = sum(s.details["int8"]["int8_layers"] for r in results.values() for s in r.report.segments.values())
    assert layers >= 8
    before = detect.detect(photograph, *(runner(m, m.graph_def) for m in models.values()))
    after = detect.detect(photograph, *(runner(m, results[n].graph_def) for n, m in models.items()))
    assert len(before.boxes) == len(after.boxes) == 1
    assert overlap(before.boxes[0], after.boxes[0]) > 0.9
    eyes = float(np.linalg.norm(before.landmarks[0, 0] - before.landmarks[0, 1]))
    assert np.abs(before.landmarks - after.landmarks).max() < 0.1 * eyes
    assert after.scores[0] > 0.99
