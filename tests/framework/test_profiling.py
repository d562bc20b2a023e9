"""Shape ranges from samples: what every strategy covers, as laws, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfgraphopt as tgo
from tfgraphopt.errors import ConfigError
from tfgraphopt.profiling import STRATEGIES, shape_ranges

SHAPES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6)


def samples(shapes: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
    return [{"a:0": np.zeros((n, t), np.float32), "b": np.zeros((n, 2, m), np.float16)} for n, t, m in shapes]


def covers(ranges: dict[str, tuple[tgo.ShapeRange, ...]], index: int, sample: dict[str, Any]) -> bool:
    pairs = [(ranges[n.partition(":")[0]][index], v.shape) for n, v in sample.items()]
    return all(lo <= d <= hi for r, dims in pairs for lo, d, hi in zip(r.min, dims, r.max, strict=True))


@given(SHAPES, st.sampled_from(STRATEGIES))
def test_every_sample_is_covered(shapes: list[tuple[int, int, int]], strategy: str) -> None:
    ranges = shape_ranges(samples(shapes), strategy)
    assert set(ranges) == {"a", "b"}
    assert len(ranges["a"]) == len(ranges["b"])
    for sample in samples(shapes):
        assert any(covers(ranges, i, sample) for i in range(len(ranges["a"])))
    tgo.Config(input_shapes=ranges)


@given(SHAPES)
def test_range_is_one_profile_that_touches_the_extremes(shapes: list[tuple[int, int, int]]) -> None:
    (a,), (b,) = shape_ranges(samples(shapes), "Range").values()
    columns = list(zip(*shapes, strict=True))
    low, high = [min(c) for c in columns], [max(c) for c in columns]
    assert a == tgo.ShapeRange((low[0], low[1]), (high[0], high[1]), (high[0], high[1]))
    assert b == tgo.ShapeRange((low[0], 2, low[2]), (high[0], 2, high[2]), (high[0], 2, high[2]))


@given(SHAPES)
def test_optimal_is_a_profile_for_every_combination(shapes: list[tuple[int, int, int]]) -> None:
    ranges = shape_ranges(samples(shapes), "optimal")
    assert {(a.opt, b.opt) for a, b in zip(*ranges.values(), strict=True)} == {
        ((n, t), (n, 2, m)) for n, t, m in shapes
    }
    assert all(r.min == r.opt == r.max for each in ranges.values() for r in each)
    spanning = shape_ranges(samples(shapes), "Range")["a"] if len(set(shapes)) > 1 else ()
    assert shape_ranges(samples(shapes), "Range+Optimal")["a"] == (*ranges["a"], *spanning)


def test_implicit_batch_takes_every_batch_up_to_the_one_seen() -> None:
    ranges = shape_ranges([np.zeros((8, 3)), np.zeros((2, 5))], "ImplicitBatchModeCompatible", inputs=["x"])
    assert ranges == {"x": (tgo.ShapeRange((1, 3), (8, 3), (8, 3)), tgo.ShapeRange((1, 5), (2, 5), (2, 5)))}
    assert shape_ranges([np.float32(1)], "implicitbatchmodecompatible", inputs=["x"])["x"][0].min == ()


def test_samples_may_be_arrays_sequences_mappings_and_tensors() -> None:
    wanted = {"x": (tgo.ShapeRange((2, 3), (2, 3), (2, 3)),)}
    for sample in (np.zeros((2, 3)), [np.zeros((2, 3))], {"x:0": tf.zeros((2, 3))}, (tf.zeros((2, 3)),)):
        assert shape_ranges([sample], inputs=["x:0"]) == wanted


def test_a_generator_is_consumed_once_and_nothing_is_kept() -> None:
    def batches() -> Iterator[list[Any]]:
        for size in (1, 4, 2):
            yield [np.zeros((size, 3))]

    assert tgo.shape_ranges(batches(), inputs=["x"])["x"][0].max == (4, 3)


def test_values_of_small_integer_inputs_are_recorded() -> None:
    sizes = [[32, 48], [64, 40], [32, 48]]
    given = [{"x": np.zeros((1, 8)), "size": np.array(s, np.int32), "n": tf.constant(i)} for i, s in enumerate(sizes)]
    ranges = shape_ranges(given)
    assert ranges["size"][0].values == ((32, 40), (32, 48), (64, 48))
    assert ranges["n"][0].values == ((0,), (0,), (2,))
    assert ranges["x"][0].values is None
    many = shape_ranges([{"ids": np.arange(9)}, {"labels": np.arange(3)}][:1])
    assert many["ids"][0].values is None
    uneven = shape_ranges([{"v": np.arange(3)}, {"v": np.arange(4)}])
    assert uneven["v"] == (tgo.ShapeRange((3,), (4,), (4,)),)


@pytest.mark.parametrize(
    ("given", "options", "text"),
    [
        ([], {}, "no sample"),
        ([{"x": 1}], {"strategy": "Best"}, "choose one of Range, Optimal, Range\\+Optimal, Implicit"),
        ([[1, 2]], {"inputs": ["x"]}, "sample 0 holds 2 arrays"),
        ([np.zeros(3)], {}, "mapping of input names"),
        ([{"x": 1}, {"y": 1}], {}, "sample 1 has inputs \\['y'\\]"),
        ([{"x": np.zeros(1)}, {"x": np.zeros((1, 1))}], {}, "differ in rank"),
        ([{"x": [[1], [1, 2]]}], {}, "no array"),
    ],
)
def test_what_cannot_be_used_is_told(given: list[Any], options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        shape_ranges(given, **options)


def test_ranges_of_values_are_checked() -> None:
    assert tgo.ShapeRange((), (), (), ((1,), (2,), (3,))).values == ((1,), (2,), (3,))
    for shape, values in [((2,), ((1,), (1,), (1,))), ((1,), ((3,), (2,), (3,))), ((1, 1), ((1,), (1,), (1,)))]:
        with pytest.raises(ConfigError):
            tgo.ShapeRange(shape, shape, shape, values)
    with pytest.raises(ConfigError, match="do not belong"):
        tgo.ShapeRange((1,), (2,), (2,), ((1, 2), (1, 2), (1, 2)))
