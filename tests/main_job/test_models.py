"""The main job on real models: one engine each, built by the real TensorRT, right in every layer, run by TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from main_job.jobs import in_function, in_session, lowered_errors

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.plugins import load
from zoo import detect, keras_models, pretrained
from zoo.frozen import FrozenModel

KERAS = ("MobileNetV2", "EfficientNetB0", "ResNet50", "InceptionV3", "DenseNet121", "VGG16")
RANGES = {
    "PNet": tgo.ShapeRange((1, 12, 12, 3), (1, 216, 216, 3), (1, 1024, 1024, 3)),
    "RNet": tgo.ShapeRange((1, 24, 24, 3), (64, 24, 24, 3), (1024, 24, 24, 3)),
    "ONet": tgo.ShapeRange((1, 48, 48, 3), (8, 48, 48, 3), (256, 48, 48, 3)),
}


def optimised(model: FrozenModel, engine: str = "tensorrt") -> tgo.Result:
    ranges = {model.inputs[0].name: RANGES[model.name]} if model.name in RANGES else {}
    config = tgo.Config(max_batch_size=16, input_shapes=ranges, engine=engine)
    return tgo.optimize_graph_def(model.graph_def, model.outputs, config, tables=load(strict=True))


def check(model: FrozenModel, *, left: set[str]) -> None:
    """Everything the main job promises of one model; ``left`` are the ops that may stay in TensorFlow."""
    result = optimised(model)
    report = result.report
    assert [s.status for s in report.segments.values()] == ["built"]
    segment = next(iter(report.segments.values()))
    assert segment.name == "TRTEngineOp_000_000"
    assert segment.engine_bytes > 1000
    stays = [v for v in report.verdicts.values() if v.status not in ("converted", "simplified")]
    assert {v.op for v in stays} <= left
    assert all(v.reason for v in stays)
    assert len(report.verdicts) >= report.nodes
    by_name = {n.name: n for n in result.graph_def.node}
    assert {i.name for i in model.inputs} | set(model.outputs) <= by_name.keys()
    assert by_name[segment.name].op == "TRTEngineOp"

    feeds = model.feeds(2)
    errors = lowered_errors(result, model.graph_def, feeds)
    assert errors.keys() == {segment.name}
    assert max(errors.values()) <= 1e-4

    tfgraphopt.runtime.reset_counters()
    check_fallback(model, result)
    count = tfgraphopt.runtime.counters()[segment.name]
    assert (count.engine_runs, count.fallback_runs) == (0, 2)


def check_fallback(model: FrozenModel, result: tgo.Result) -> None:
    """The optimised graph computes the original's bits.

    With Grappler off, those of a session. With Grappler on, TensorFlow itself rounds some graphs differently in a session and in a
    function (ResNet50: by 2.8e-7); then it must be the bits of one of the two.
    """
    feeds = model.feeds(2)
    plain = [in_session(g, model.outputs, feeds, rewriting=False) for g in (model.graph_def, result.graph_def)]
    for wanted, got in zip(*plain, strict=True):
        np.testing.assert_array_equal(got, wanted)
    made = in_session(result.graph_def, model.outputs, feeds)
    if not _same(made, in_session(model.graph_def, model.outputs, feeds)):
        assert _same(made, in_function(model.graph_def, model.outputs, feeds))


def _same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", KERAS)
def test_keras_application(name: str) -> None:
    check(keras_models.build(name), left={"Placeholder", "Identity"})


@pytest.mark.parametrize("name", pretrained.MTCNN)
def test_mtcnn_network(name: str) -> None:
    check(pretrained.build(name), left={"Placeholder", "Identity"})


def test_basic_pitch() -> None:
    check(pretrained.build("BasicPitch"), left={"Placeholder", "Identity", "Assert", "NoOp", "Const", "Equal", "All"})


def test_wrapped_functions_compute_the_same_bits() -> None:
    model = keras_models.build("MobileNetV2")
    result = optimised(model, engine="none")
    feeds = model.feeds(1)
    for got, wanted in zip(
        in_function(result.graph_def, model.outputs, feeds),
        in_function(model.graph_def, model.outputs, feeds),
        strict=True,
    ):
        np.testing.assert_array_equal(got, wanted)


def test_the_same_faces_are_found_before_and_after() -> None:
    photograph = detect.astronaut()
    before, after = [], []
    for name in pretrained.MTCNN:
        model = pretrained.build(name)
        before.append(_runner(model.graph_def, model))
        after.append(_runner(optimised(model, engine="none").graph_def, model))
    found = detect.detect(photograph, *before)
    assert len(found.boxes) == 1
    assert detect.same_faces(found, detect.detect(photograph, *after), pixels=0.0)


def _runner(graph_def: object, model: FrozenModel):
    return lambda array: tuple(in_session(graph_def, model.outputs, {model.inputs[0].name: array}))
