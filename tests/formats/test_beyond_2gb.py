"""What a graph cannot hold. The limits are lowered to bytes here; ``tests/benchmarks/beyond_2gb.py`` runs a real model of 2.2 GB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from formats.models import numbers
from formats.test_formats import equal

import tfgraphopt as tgo
import tfgraphopt.runtime
from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef import export_graph_def, import_graph_def, tf_op_table
from tfgraphopt.ir import DType, Graph, Module, Shape, Tensor
from tfgraphopt.passes import Context
from tfgraphopt.plugins import load
from tfgraphopt.report import Report
from tfgraphopt.transforms.fold_constants import FoldConstants


@pytest.fixture(autouse=True)
def _counters() -> Iterator[None]:
    tfgraphopt.runtime.reset_counters()
    yield
    tfgraphopt.runtime.reset_counters()


class Shaped(tf.Module):
    """Weights that are used in another shape, order and precision than the one they are stored in."""

    def __init__(self) -> None:
        self.heads = tf.Variable(numbers(16, 4, 4))
        self.turned = tf.Variable(numbers(8, 16, seed=1))
        self.half = tf.Variable(numbers(8, 8, seed=2))

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, name="x")])
    def __call__(self, x: Any) -> dict[str, Any]:
        h = tf.nn.relu(tf.matmul(x, tf.reshape(self.heads, [16, 16])))
        h = tf.nn.tanh(tf.matmul(h, tf.transpose(self.turned)))
        return {"y": tf.matmul(tf.cast(h, tf.float16), tf.cast(self.half, tf.float16))}


@pytest.mark.parametrize("engine", ["openvino", "none"])
def test_weights_in_another_form_are_read_from_the_variables_too(engine: str, tmp_path: Path) -> None:
    model = Shaped()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.__call__)
    path = tgo.optimize(tmp_path / "model", engine=engine, max_batch_size=4, max_embedded_bytes=0).save(
        tmp_path / "out"
    )
    saved = (path / "saved_model.pb").read_bytes()
    for variable in model.variables:
        for form in (variable.numpy(), variable.numpy().T, variable.numpy().astype(np.float16)):
            assert form.tobytes() not in saved
    x = tf.constant(numbers(3, 16))
    after = tf.saved_model.load(str(path)).signatures["serving_default"](x)
    before = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"](x)
    if engine == "none":
        equal(after, before)
    else:
        np.testing.assert_allclose(after["y"], before["y"], rtol=2e-2, atol=2e-2)


class Looping(tf.Module):
    """A loop and a conditional inside it whose functions read variables, and dense layers beside them."""

    def __init__(self) -> None:
        self.outer = tf.Variable(numbers(16, 16))
        self.looped = tf.Variable(numbers(16, 16, seed=1))
        self.chosen = tf.Variable(numbers(16, seed=2))
        self.other = tf.Variable(numbers(16, seed=3))

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.float32, name="x")], autograph=False)
    def __call__(self, x: Any) -> dict[str, Any]:
        def step(i: Any, h: Any) -> Any:
            one = tf.cond(tf.reduce_sum(h) > 0.0, lambda: h + self.chosen, lambda: h * self.other)
            return i + 1, tf.nn.tanh(tf.matmul(one, self.looped))

        h = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, self.outer)), self.outer))
        return {"y": tf.while_loop(lambda i, _: i < 3, step, (0, h))[1]}


@pytest.mark.parametrize("embedded", [0, 1 << 20], ids=["shared", "embedded"])
@pytest.mark.parametrize("denied", [["While", "If", "StatelessIf"], ["While"], []], ids=["neither", "if", "both"])
def test_variables_of_loops_stay_variables_where_no_engine_takes_them(
    denied: list[str], embedded: int, tmp_path: Path
) -> None:
    model = Looping()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.__call__)
    result = tgo.optimize(
        tmp_path / "model", engine="openvino", max_batch_size=4, denied_ops=denied, max_embedded_bytes=embedded,
        minimum_segment_size=2,
    )  # fmt: skip
    assert result.is_converted
    x = tf.constant(numbers(3, 16))
    path = result.save(tmp_path / "out")
    after, before = tf.saved_model.load(str(path)), tf.saved_model.load(str(tmp_path / "model"))
    saved = (path / "saved_model.pb").read_bytes()
    taken = {s.name for s in result.report.segments.values()}
    assert taken
    if embedded == 0:
        assert not [v for v in model.variables if v.numpy().tobytes() in saved]
    np.testing.assert_allclose(
        after.signatures["serving_default"](x)["y"], before.signatures["serving_default"](x)["y"], rtol=1e-5, atol=1e-5
    )
    if len(denied) == 3:  # what a loop reads is what the variable holds now
        for loaded in (after, before):
            loaded.looped.assign(numbers(16, 16, seed=4))
            loaded.other.assign(numbers(16, seed=5))
        assert model.looped.numpy().tobytes() not in saved
        new = after.signatures["serving_default"](x)["y"]
        np.testing.assert_allclose(new, before.signatures["serving_default"](x)["y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("reshape", lambda w: tf.reshape(w, [6, -1])),
        ("expand", lambda w: tf.expand_dims(w, -1)),
        ("squeeze", lambda w: tf.squeeze(tf.expand_dims(w, 0), [0])),
        ("transpose", lambda w: tf.transpose(w, [2, 0, 1])),
        ("half", lambda w: tf.cast(w * 1e30, tf.float16)),
        ("bfloat16", lambda w: tf.cast(tf.cast(w, tf.bfloat16), tf.float32)),
    ],
)
def test_views_have_the_bits_that_tensorflow_computes(name: str, build: Any) -> None:
    array = numbers(2, 3, 4)
    array[0, 0] = [np.nan, np.inf, -0.0, 1e-42]
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        with tf.device("CPU"):
            tensor = tf.identity(build(tf.constant(array)), name="result")
        expected: npt.NDArray[Any] = session.run(tensor)
    module = import_graph_def(graph.as_graph_def(), ["result"])
    FoldConstants().run(module.main, Context(module, tgo.Config(), load(), Report()))
    producer = module.main.outputs[0].producer
    assert producer is not None
    while producer.op == "Identity":
        producer = producer.inputs[0].producer
    assert producer is not None
    assert producer.op == "Const"
    found = producer.attrs["value"].numpy()  # type: ignore[union-attr]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.view(np.uint8), np.ascontiguousarray(expected).view(np.uint8))


def _huge(count: int) -> Module:
    """A module with more constants than a graph can hold; nobody has them in memory."""
    ops = tf_op_table()
    module = Module(Graph("main", ops), ops)

    def load_elements() -> npt.NDArray[Any]:
        raise AssertionError("the elements were read")

    for _ in range(count):
        tensor = Tensor(DType.FLOAT, Shape((1 << 27,)), load_elements)
        module.main.add("Const", [], {"value": tensor, "dtype": tensor.dtype}, name="weight", types=[tensor.type])
    return module


def test_a_graph_that_cannot_exist_is_refused_before_anything_is_copied() -> None:
    with pytest.raises(GraphDefError, match=r"2\.15 GB") as caught:
        export_graph_def(_huge(4))
    assert "save" in str(caught.value)
    assert "2 GB" in caught.value.why
