"""Where no engine runs, the body computes what the original graph computes, bit for bit; counted and said once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from engine_op.fresh import in_fresh_process
from engine_op.graphs import ENGINE, behind_engine, cnn, doubled, run, session
from tensorflow.core.framework import graph_pb2

from tfgraphopt_trt import engine_op as eo

X = np.random.default_rng(1).normal(size=(5, 16, 16, 3)).astype(np.float32)


def _default() -> tf.compat.v1.ConfigProto:
    return tf.compat.v1.ConfigProto()


def _no_rewriting() -> tf.compat.v1.ConfigProto:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def _no_remapping() -> tf.compat.v1.ConfigProto:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.remapping = 2
    return config


def _no_optimizer() -> tf.compat.v1.ConfigProto:
    config = tf.compat.v1.ConfigProto()
    config.graph_options.optimizer_options.opt_level = -1
    return config


@pytest.fixture(scope="module")
def models() -> tuple[graph_pb2.GraphDef, graph_pb2.GraphDef]:
    original = cnn()
    return original, behind_engine(original, ["x"], ["y"])


@pytest.mark.parametrize("config", [_default, _no_rewriting, _no_remapping, _no_optimizer])
def test_session_is_bit_identical(
    models: tuple[graph_pb2.GraphDef, graph_pb2.GraphDef], config: Callable[[], tf.compat.v1.ConfigProto]
) -> None:
    original, ours = models
    np.testing.assert_array_equal(run(ours, X, config()), run(original, X, config()))
    assert eo.counters() == {ENGINE: eo.EngineCounters(fallbacks={"no_plan": 1})}


def test_a_body_returns_the_shape_of_something() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 16, 16, 3], name="x")
        tf.shape(tf.nn.relu(x), name="y")
    ours = behind_engine(graph.as_graph_def(), ["x"], ["y"])
    assert run(ours, X).tolist() == [5, 16, 16, 3]


def test_session_runs_the_body_with_the_same_fused_kernels(
    models: tuple[graph_pb2.GraphDef, graph_pb2.GraphDef],
) -> None:
    assert _kernels(models[1]) == _kernels(models[0])
    assert any("_FusedConv2D" in kernel for kernel in _kernels(models[0]))


def _kernels(graph_def: graph_pb2.GraphDef) -> list[str]:
    """Return the kernels that compute something in a traced run of ``y``, from TensorFlow's step statistics."""
    options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
    metadata = tf.compat.v1.RunMetadata()
    with session(graph_def) as s:
        s.run("y:0", {"x:0": X}, options=options, run_metadata=metadata)
    labels = (node.timeline_label for device in metadata.step_stats.dev_stats for node in device.node_stats)
    ops = (label.partition(" = ")[2].partition("(")[0] for label in labels)
    plain = {"Relu6", "AvgPool", "Softmax", "FusedBatchNormV3", "Conv2D", "MatMul"}
    return sorted(op for op in ops if op.startswith("_Fused") or op in plain)


def _wrapped(graph_def: graph_pb2.GraphDef) -> Callable[[tf.Tensor], tf.Tensor]:
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    pruned: Callable[[tf.Tensor], tf.Tensor] = whole.prune("x:0", "y:0")
    return pruned


def test_wrap_function_and_tf_function_are_bit_identical(models: tuple[graph_pb2.GraphDef, graph_pb2.GraphDef]) -> None:
    original, ours = (_wrapped(model) for model in models)
    x = tf.constant(X)
    np.testing.assert_array_equal(ours(x), original(x))
    np.testing.assert_array_equal(tf.function(ours)(x), tf.function(original)(x))
    assert sum(c.fallbacks["no_plan"] for c in eo.counters().values()) == 2


def test_saved_model_is_bit_identical_in_a_fresh_process(
    models: tuple[graph_pb2.GraphDef, graph_pb2.GraphDef], tmp_path: Path
) -> None:
    original, ours = models
    module = tf.Module()
    module.f = _wrapped(ours)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.f)
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "graph.pb").write_bytes(ours.SerializeToString())
    program = f"""
import numpy as np, tensorflow as tf
from tfgraphopt_trt import engine_op
engine_op.load()
x = np.load(r"{tmp_path}/x.npy")
f = tf.saved_model.load(r"{tmp_path}/model").signatures["serving_default"]
np.save(r"{tmp_path}/saved.npy", list(f(tf.constant(x)).values())[0])
graph_def = tf.compat.v1.GraphDef.FromString(open(r"{tmp_path}/graph.pb", "rb").read())
with tf.Graph().as_default():
    tf.graph_util.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session() as s:
        np.save(r"{tmp_path}/session.npy", s.run("y:0", {{"x:0": x}}))
"""
    in_fresh_process(program)
    expected = run(original, X)
    np.testing.assert_array_equal(np.load(tmp_path / "session.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "saved.npy"), expected)


def test_a_reason_is_said_once_and_counted_each_time(capfd: pytest.CaptureFixture[str]) -> None:
    graph_def = behind_engine(doubled(), ["x"], ["y"], runtime="absent", serialized_segment=b"plan")
    with session(graph_def) as s:
        for _ in range(3):
            s.run("y:0", {"x:0": np.ones((2, 2), np.float32)})
    lines = [line for line in capfd.readouterr().err.splitlines() if ENGINE in line]
    assert len(lines) == 1
    for part in ("no engine runtime is registered", '"absent"', "what to do"):
        assert part in lines[0]
    assert eo.counters()[ENGINE] == eo.EngineCounters(fallbacks={"no_runtime": 3})


def test_strict_refuses_with_the_reason() -> None:
    graph_def = behind_engine(doubled(), ["x"], ["y"], runtime="absent", serialized_segment=b"plan", strict=True)
    with pytest.raises(tf.errors.AbortedError, match=f"{ENGINE}.*no engine runtime is registered"):
        run(graph_def, np.ones((2, 2), np.float32))


@pytest.mark.parametrize(("value", "refused"), [("False", True), ("0", True), ("true", False)])
def test_tf_trt_environment_variable(monkeypatch: pytest.MonkeyPatch, value: str, refused: bool) -> None:
    monkeypatch.setenv("TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION", value)
    graph_def = behind_engine(doubled(), ["x"], ["y"])
    if refused:
        with pytest.raises(tf.errors.AbortedError, match="holds no plan"):
            run(graph_def, np.ones((2, 2), np.float32))
    else:
        np.testing.assert_array_equal(run(graph_def, np.ones((2, 2), np.float32)), np.full((2, 2), 2, np.float32))


def test_node_written_by_tf_trt_loads_and_runs() -> None:
    """A node with TF-TRT's attributes, old and private ones included, and a plan of a TensorRT that is gone."""
    graph_def = behind_engine(
        doubled(), ["x"], ["y"], calibration_data="", profile_strategy="Range", serialized_segment=b"\0ftrt"
    )
    node = next(n for n in graph_def.node if n.name == ENGINE)
    node.attr["input_shapes"].list.shape.add().dim.add(size=-1)
    node.attr["max_cached_engines_count"].i = 1
    node.attr["max_batch_size"].i = 8
    node.attr["use_calibration"].b = False
    node.attr["use_explicit_precision"].b = False
    node.attr["static_engine"].b = False
    node.attr["fixed_input_size"].b = True
    node.attr["cached_engine_batches"].list.i.append(4)
    node.attr["segment_funcdef_name"].s = b""
    node.attr["_use_implicit_batch"].b = False
    node.attr["_allow_build_at_runtime"].b = True
    node.attr["_profile_generation_mode"].b = False
    np.testing.assert_array_equal(run(graph_def, np.ones((2, 2), np.float32)), np.full((2, 2), 2, np.float32))


def test_tf_1_13_node_names_its_body_in_a_string() -> None:
    graph_def = behind_engine(doubled(), ["x"], ["y"])
    node = next(n for n in graph_def.node if n.name == ENGINE)
    node.attr["segment_funcdef_name"].s = node.attr["segment_func"].func.name.encode()
    del node.attr["segment_func"]
    config = _no_rewriting()  # Grappler drops functions that only a string names
    np.testing.assert_array_equal(run(graph_def, np.ones((2, 2), np.float32), config), np.full((2, 2), 2, np.float32))


def test_node_without_body_says_so() -> None:
    graph_def = behind_engine(doubled(), ["x"], ["y"])
    del next(n for n in graph_def.node if n.name == ENGINE).attr["segment_func"]
    with pytest.raises(tf.errors.FailedPreconditionError, match="no TensorFlow body"):
        run(graph_def, np.ones((2, 2), np.float32))


def test_error_of_the_body_reaches_the_caller() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, None], name="x")
        tf.reshape(x, [3, 5], name="y")
    graph_def = behind_engine(graph.as_graph_def(), ["x"], ["y"])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"[Rr]eshape"):
        run(graph_def, np.ones((2, 2), np.float32))


def test_static_output_shape_is_inferred() -> None:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(behind_engine(cnn(), ["x"], ["y"]), name="")
        assert graph.get_tensor_by_name("y:0").shape.as_list() == [None, 10]


def test_integer_and_string_tensors_pass_through_the_body() -> None:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.int32, [None], name="x")
        tf.strings.as_string(x + 1, name="y")
    graph_def = behind_engine(graph.as_graph_def(), ["x"], ["y"])
    assert list(run(graph_def, np.array([1, 2], np.int32))) == [b"2", b"3"]


@pytest.mark.parametrize("plan", [b"", b"2 1-4"])
def test_control_edges_into_and_out_of_the_node_are_honoured(plan: bytes, scale: str) -> None:
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(
            _with_control_edges(behind_engine(doubled(), ["x"], ["y"], runtime=scale, serialized_segment=plan)), name=""
        )
        # Without Grappler: it drops a pure node that only a control edge asks for, as it does with the original's.
        with tf.compat.v1.Session(graph=graph, config=_no_rewriting()) as s:
            s.run("before/init")
            s.run("y:0", {"x:0": np.ones((2, 2), np.float32)})
            assert s.run("before:0") == 1
            s.run("after", {"x:0": np.ones((2, 2), np.float32)})
            assert s.run("before:0") == 2
    done = eo.counters()[ENGINE]
    assert done.engine_runs + done.fallback_runs == 2
    assert bool(done.engine_runs) == bool(plan)


def _with_control_edges(graph_def: graph_pb2.GraphDef) -> graph_pb2.GraphDef:
    """Add a counter variable that must rise before the engine node runs, and a NoOp that runs after it."""
    with tf.Graph().as_default() as graph:
        variable = tf.compat.v1.get_variable("before", initializer=0, use_resource=False)
        tf.compat.v1.assign_add(variable, 1, name="rise")
        tf.group(variable.initializer, name="before/init")
    graph_def.node.extend(graph.as_graph_def().node)
    graph_def.node.add(name="after", op="NoOp", input=[f"^{ENGINE}"])
    next(n for n in graph_def.node if n.name == ENGINE).input.append("^rise")
    return graph_def
