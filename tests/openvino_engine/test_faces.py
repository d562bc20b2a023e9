"""The pretrained face detector finds the same faces with OpenVINO engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demo.networks import RANGES

import tfgraphopt as tgo
import tfgraphopt.runtime
from openvino_engine.nets import session
from zoo import detect, pretrained
from zoo.frozen import FrozenModel


def _runner(model: FrozenModel, graph_def: Any) -> Callable[..., tuple[Any, ...]]:
    call = session(graph_def, [model.inputs[0].name], model.outputs)
    return lambda array: tuple(call(array))


def test_the_same_faces_are_found() -> None:
    before, after = [], []
    for name in pretrained.MTCNN:
        model = pretrained.build(name)
        config = tgo.Config(engine="openvino", input_shapes={model.inputs[0].name: RANGES[name]}, strict=True)
        result = tgo.optimize_graph_def(model.graph_def, model.outputs, config)
        assert [s.status for s in result.report.segments.values()] == ["built"]
        before.append(_runner(model, model.graph_def))
        after.append(_runner(model, result.graph_def))
    photograph = detect.astronaut()
    found = detect.detect(photograph, *before)
    assert len(found.boxes) == 1
    assert detect.same_faces(found, detect.detect(photograph, *after), pixels=0.1)
    counters = tfgraphopt.runtime.counters().values()
    assert sum(c.engine_runs for c in counters) > 0
    assert sum(c.fallback_runs for c in counters) == 0
