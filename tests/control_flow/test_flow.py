"""Conditionals and loops: what becomes one engine, what is refused and why, and that all of it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import tfgraphopt.runtime
from control_flow.models import Array, Model, check, compare, left, only_segment, spec, traced

X = np.abs(np.random.default_rng(0).normal(size=(2, 3))).astype(np.float32)
BOTH = [{"x": X}, {"x": -X}]


def model(function: Callable[[tf.Tensor], Any]) -> Model:
    """A model of one input ``x``, f32[?,3]; one more multiplication follows what the function makes."""
    return traced(lambda x: tf.nest.map_structure(lambda t: t * 2, function(x)), spec("x", None, 3))


def nested_if(x: tf.Tensor) -> tf.Tensor:
    inner = lambda: tf.cond(tf.reduce_max(x) > 1.0, lambda: x * 2.0, lambda: tf.tanh(x))  # noqa: E731
    return tf.cond(tf.reduce_sum(x) > 0, inner, lambda: tf.exp(x))


def switch(x: tf.Tensor) -> tf.Tensor:
    branches = [lambda: tf.nn.relu(x), lambda: tf.exp(x), lambda: tf.tanh(x), lambda: tf.sin(x)]
    return tf.switch_case(tf.cast(tf.reduce_sum(x), tf.int32), branches)


def doubling(x: tf.Tensor) -> tf.Tensor:
    start = (tf.constant(0), tf.nn.relu(x) + 0.1)
    return tf.while_loop(lambda i, y: tf.reduce_sum(y) < 100.0, lambda i, y: (i + 1, y * 2.0), start)


def counting(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda i, y: i <= 4, lambda i, y: (i + 1, tf.tanh(y) + x), (tf.constant(0), x))[1]


def loop_in_loop(x: tf.Tensor) -> tf.Tensor:
    def outer(i: tf.Tensor, y: tf.Tensor) -> Any:
        start = (tf.constant(0), y)
        return i + 1, tf.while_loop(lambda j, z: j < i, lambda j, z: (j + 1, z * 0.5 + x), start)[1]

    return tf.while_loop(lambda i, y: i < 3, outer, (tf.constant(0), x))[1]


def if_in_loop(x: tf.Tensor) -> tf.Tensor:
    def step(i: tf.Tensor, y: tf.Tensor) -> Any:
        return i + 1, tf.cond(tf.reduce_sum(y) > 3.0, lambda: y * 0.5, lambda: y + 1.0)

    return tf.while_loop(lambda i, y: i < 4, step, (tf.constant(0), x))[1]


def loops_in_branches(x: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: counting(x), lambda: loop_in_loop(x))


def fibonacci(x: tf.Tensor) -> Any:
    start = (tf.constant(0), x, tf.exp(x))
    return tf.while_loop(lambda i, a, b: i < 5, lambda i, a, b: (i + 1, b, a + b), start)[1:]


def mapped(x: tf.Tensor) -> tf.Tensor:
    return tf.map_fn(lambda row: tf.nn.softmax(row) * tf.reduce_sum(row), x)


def scanned(x: tf.Tensor) -> tf.Tensor:
    return tf.scan(lambda total, row: total * 0.5 + row, x)


def list_until(x: tf.Tensor) -> Any:
    """A list of known shape, written until the data says stop: what was not written is zeros."""
    found = tf.TensorArray(tf.float32, 6, element_shape=(3,))
    start = (tf.constant(0), x[0], found)
    stop = lambda i, y, found: tf.logical_and(i < 6, tf.reduce_sum(y) < 100.0)  # noqa: E731
    _, last, found = tf.while_loop(stop, lambda i, y, found: (i + 1, y * 2.0 + 1.0, found.write(i, y)), start)
    return last, found.stack()


def list_of_its_own_past(x: tf.Tensor) -> tf.Tensor:
    found = tf.TensorArray(tf.float32, 5, element_shape=(3,), clear_after_read=False).write(0, x[0])
    step = lambda i, found: (i + 1, found.write(i, found.read(i - 1) * 2.0))  # noqa: E731
    return tf.while_loop(lambda i, found: i < 5, step, (tf.constant(1), found))[1].stack()


ONE_ENGINE = {
    f.__name__: f
    for f in (
        nested_if, switch, doubling, counting, loop_in_loop, if_in_loop, loops_in_branches, fibonacci, mapped, scanned, list_until,
        list_of_its_own_past,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_ENGINE)
def test_is_one_engine(name: str) -> None:
    check(model(ONE_ENGINE[name]), BOTH)


def test_a_limit_that_only_the_caller_knows_makes_a_loop_with_a_condition() -> None:
    def function(x: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
        return tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, y * 0.5 + x), (tf.constant(0), x))[1] * 2.0

    limited = traced(function, spec("x", None, 3), spec("n", dtype=tf.int32))
    check(limited, [{"x": X, "n": np.int32(n)} for n in (0, 1, 4, -1)])


# -- what stays --------------------------------------------------------------------------------------------------------


def unconvertible(y: tf.Tensor) -> tf.Tensor:
    """Something that no plugin converts."""
    return tf.raw_ops.Betainc(a=tf.abs(y) + 1.0, b=tf.abs(y) + 2.0, x=tf.sigmoid(y))


def test_the_body_of_a_loop_that_stays_has_engines_of_its_own() -> None:
    def step(i: tf.Tensor, y: tf.Tensor) -> Any:
        h = unconvertible(tf.tanh(tf.nn.relu(y) * 0.5 + 1.0))
        return i + 1, tf.exp(tf.tanh(h) * 0.5 - 1.0)

    loop = model(lambda x: tf.while_loop(lambda i, y: i < 3, step, (tf.constant(0), tf.tanh(x * 2.0)))[1])
    result = loop.optimised(minimum_segment_size=2)
    reasons = {v.op: v.reason for v in left(result)}
    assert "Betainc" in reasons["StatelessWhile"]
    inner = {n.name for g in result.module.functions.values() for n in g if n.op == "TRTEngineOp"}
    assert len(inner) == 2
    assert all(result.report.segments[name].status == "built" for name in inner)
    compare(loop, result, BOTH)
    tfgraphopt.runtime.reset_counters()
    loop.run(result.graph_def, BOTH[0])
    counts = tfgraphopt.runtime.counters()
    runs = {name.rpartition("/")[2]: count.fallback_runs for name, count in counts.items()}
    assert {runs[name] for name in inner} == {3}


def test_functions_with_engines_run_beside_the_original_ones_in_one_process() -> None:
    """An eager context holds one function a name: the changed ones go by other names."""
    from main_job.jobs import in_function

    loop = model(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: unconvertible(x), lambda: tf.tanh(tf.exp(x) * 0.5)))
    result = loop.optimised("none", minimum_segment_size=2)
    assert any(n.op == "TRTEngineOp" for g in result.module.functions.values() for n in g)
    for feed in BOTH:
        wanted = in_function(loop.graph_def, loop.outputs, feed)
        for got, want in zip(in_function(result.graph_def, loop.outputs, feed), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def growing(x: tf.Tensor) -> tf.Tensor:
    shapes = (tf.TensorShape([]), tf.TensorShape([None, 3]))
    step = lambda i, y: (i + 1, tf.concat([y, y[:1]], 0))  # noqa: E731
    start = (tf.constant(0), tf.reduce_sum(x, 0, keepdims=True))
    return tf.while_loop(lambda i, y: i < 3, step, start, shape_invariants=shapes)[1]


def endless_branch(x: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: doubling(x)[1], lambda: x)


def different_ranks(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: tf.reshape(x, [-1])), [-1, 3])


def printing(x: tf.Tensor) -> tf.Tensor:
    def step(i: tf.Tensor, y: tf.Tensor) -> Any:
        tf.print("step", i, output_stream="file:///dev/null")
        return i + 1, tf.tanh(y)

    return tf.while_loop(lambda i, y: i < 2, step, (tf.constant(0), x))[1]


def gathered_rows(x: tf.Tensor) -> Any:
    """A list of rows of unknown length, written until the data says stop."""
    found = tf.TensorArray(tf.float32, tf.shape(x)[0])
    keep = lambda i, found: tf.logical_and(i < tf.shape(x)[0], x[tf.minimum(i, 1), 0] > -5.0)  # noqa: E731
    step = lambda i, found: (i + 1, found.write(i, x[: i + 1, 0]))  # noqa: E731
    return tf.while_loop(keep, step, (tf.constant(0), found))[1].concat()


REFUSED = {
    "growing": (growing, "While", "keep shapes"),
    "endless_branch": (endless_branch, "If", "only data ends"),
    "different_ranks": (different_ranks, "If", ""),
    "printing": (printing, "While", "side effects"),
    "gathered_rows": (gathered_rows, "While", "number of its trips"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_with_its_reason(name: str) -> None:
    function, op, words = REFUSED[name]
    refused = model(function)
    result = refused.optimised("none", minimum_segment_size=1)
    reasons = [v.reason for v in left(result) if v.op.removeprefix("Stateless") == op]
    assert reasons
    assert all(reasons)
    assert words in reasons[0]
    compare(refused, result, BOTH)


def test_other_engines_take_loops_or_say_why_not() -> None:
    result = model(counting).optimised("none")
    only_segment(result)
    reasons = {v.op: v.reason for v in left(model(counting).optimised("openvino"))}
    assert "trt.loop" in reasons["StatelessWhile"]


# -- laws --------------------------------------------------------------------------------------------------------------

DTYPES = (tf.float32, tf.float16, tf.int32, tf.int64, tf.bool)


@st.composite
def loops(draw: st.DrawFn) -> tuple[Model, dict[str, Array]]:
    """A loop of several states of several types, some of them only handed on, with a list that it writes and one that it reads."""
    trips, start, size = draw(st.integers(0, 4)), draw(st.integers(-1, 2)), draw(st.integers(1, 3))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=3))
    handed_on = draw(st.lists(st.booleans(), min_size=len(dtypes), max_size=len(dtypes)))
    reads, writes, known = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())

    def advance(value: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        if value.dtype is tf.bool:
            return tf.math.logical_xor(value, part > 0)
        return value + tf.cast(part, value.dtype)

    def function(*values: tf.Tensor) -> Any:
        rows = tf.TensorArray(tf.float32, trips, element_shape=(size,)).unstack(tf.cast(values[-1], tf.float32))
        made = tf.TensorArray(tf.float32, trips, element_shape=(size,))

        def step(i: tf.Tensor, states: Any, made: tf.TensorArray) -> Any:
            part = rows.read(i - start) if reads else tf.cast(tf.fill([size], i), tf.float32)
            following = [s if kept else advance(s, part) for s, kept in zip(states, handed_on, strict=True)]
            return i + 1, following, made.write(i - start, part * 2.0) if writes else made

        begin = (tf.constant(start), list(values[:-1]), made)
        count, states, made = tf.while_loop(lambda i, *_: i < start + trips, step, begin)
        return [count, *states, *([made.stack()] if writes else [])]

    unknown = None if known is False else size
    specs = [spec(f"s{i}", unknown, dtype=d) for i, d in enumerate(dtypes)] + [spec("rows", trips, size)]
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    feeds = {
        s.name: (rng.normal(size=[size if d is None else d for d in s.shape]) * 3).astype(s.dtype.as_numpy_dtype)
        for s in specs
    }
    return traced(function, *specs), feeds


@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(loops())
def test_every_loop_means_what_tensorflow_computes(drawn: tuple[Model, dict[str, Array]]) -> None:
    loop, feeds = drawn
    result = loop.optimised("none", minimum_segment_size=1)
    assert [v.reason for v in left(result) if v.status == "refused" and v.graph == "main"] == []
    compare(loop, result, [feeds])
