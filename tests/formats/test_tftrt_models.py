"""SavedModels written by TF-TRT load again, run their native segments, and are optimised afresh (tftrt/write.py wrote the one here)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from formats.models import images, numbers

import tfgraphopt as tgo
import tfgraphopt.runtime

MODEL = Path(__file__).with_name("tftrt") / "model"


def expected(x: Any) -> Any:
    """What the two segments and the cumulative sum between them compute, by the weights that write.py drew."""
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        weights, bias = (rng.normal(size=s).astype(np.float32) for s in ((8, 8), (8,)))
        x = np.tanh(np.maximum(x @ weights + bias, 0))
        x = x if seed else np.cumsum(x, 1)
    return x


def test_a_model_of_tf_trt_loads_and_runs_its_native_segments() -> None:
    tfgraphopt.runtime.reset_counters()
    loaded = tf.saved_model.load(str(MODEL))
    scores = loaded.signatures["serving_default"](x=tf.constant(images()))["output_0"]
    np.testing.assert_allclose(scores, expected(images()), rtol=1e-5, atol=1e-6)
    ran = {name.rpartition("/")[2]: c for name, c in tfgraphopt.runtime.counters().items() if c.fallback_runs}
    reasons = {name: dict(c.fallbacks) for name, c in ran.items()}
    assert reasons["TRTEngineOp_000_000"] == {"no_plan": 1}
    (second,) = reasons["TRTEngineOp_000_001"].values()
    assert second == 1


def test_it_is_served_by_a_session_too() -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(MODEL))
        signature = meta.signature_def["serving_default"]
        made = session.run(signature.outputs["output_0"].name, {signature.inputs["x"].name: images()})
    np.testing.assert_allclose(made, expected(images()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("engine", ["none", "tensorrt"])
def test_its_segments_are_put_back_and_converted_afresh(engine: str, tmp_path: Path) -> None:
    result = tgo.optimize(MODEL, engine=engine, max_batch_size=4)
    assert len(result.report.segments) == 1, "Cumsum, which TF-TRT did not know, does not split the graph any more"
    (segment,) = result.report.segments.values()
    assert segment.ops["MatMul"] == 2
    assert sum("was put back" in m for m in result.report.messages) == 2
    loaded = tf.saved_model.load(str(result.save(tmp_path / "out")))
    x = numbers(3, 8, seed=5)
    np.testing.assert_allclose(
        loaded.signatures["serving_default"](x=tf.constant(x))["output_0"], expected(x), rtol=1e-4, atol=1e-5
    )


def test_the_ops_of_its_engine_cache_say_what_replaced_them() -> None:
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        node = graph.as_graph_def().node.add(name="data", op="GetCalibrationDataOp", input=["name"])
        graph_def = tf.compat.v1.GraphDef(node=[node])
        name = graph_def.node.add(name="name", op="Const")
        name.attr["dtype"].type = tf.string.as_datatype_enum
        name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("TRTEngineOp_000_000"))
        tf.graph_util.import_graph_def(graph_def, name="")
        with pytest.raises(tf.errors.UnimplementedError, match=r"tfgraphopt\.optimize"):
            session.run("data:0")


def test_an_engine_without_any_body_is_said_so() -> None:
    graph_def = tf.compat.v1.GraphDef()
    graph_def.versions.producer = 1882
    placeholder = graph_def.node.add(name="x", op="Placeholder")
    placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
    engine = graph_def.node.add(name="TRTEngineOp_0", op="TRTEngineOp", input=["x"])
    engine.attr["serialized_segment"].s = b""
    engine.attr["workspace_size_bytes"].i = 1
    engine.attr["precision_mode"].s = b"FP32"
    for key in ("InT", "OutT"):
        engine.attr[key].list.type.append(tf.float32.as_datatype_enum)
    result = tgo.optimize(
        graph_def, outputs=["TRTEngineOp_0"], engine="none", input_shapes={"x": tgo.ShapeRange((1,), (1,), (1,))}
    )
    assert any("no TensorFlow body" in m for m in result.report.messages)
