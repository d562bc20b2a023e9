"""TensorFlow's fused recurrent cells, step by step and over time, against its own kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.harness import Const, check

BATCH, INPUTS, UNITS = 2, 3, 4


def numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def lstm(*, peepholes: bool) -> list[Any]:
    """States, weights, peepholes and bias."""
    states = [numbers(BATCH, UNITS, seed=s) for s in (1, 2)]
    seen = [numbers(UNITS, seed=s) if peepholes else np.zeros(UNITS, np.float32) for s in (3, 4, 5)]
    return [*states, Const(numbers(INPUTS + UNITS, 4 * UNITS)), *map(Const, seen), Const(numbers(4 * UNITS))]


@pytest.mark.parametrize("unknown", ["none", [0]])
def test_gru_block_cell(unknown: Any) -> None:
    weights = [numbers(INPUTS + UNITS, 2 * UNITS), numbers(INPUTS + UNITS, UNITS), numbers(2 * UNITS), numbers(UNITS)]
    operands = [numbers(BATCH, INPUTS), numbers(BATCH, UNITS), *map(Const, weights)]
    check("GRUBlockCell", operands, unknown=unknown, build=True)


@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm_block_cell(peepholes: bool) -> None:
    told = {"forget_bias": 0.7, "cell_clip": 0.5, "use_peephole": peepholes}
    check("LSTMBlockCell", [numbers(BATCH, INPUTS), *lstm(peepholes=peepholes)], told, unknown=[0], build=True)


@pytest.mark.parametrize("op", ["BlockLSTM", "BlockLSTMV2"])
def test_block_lstm_is_one_loop(op: str) -> None:
    fragment = check(
        op, [Const(np.int64(3)), numbers(5, BATCH, INPUTS), *lstm(peepholes=True)], {"use_peephole": True}, build=True,
        outputs=(1, 6),
    )  # fmt: skip
    assert [n.op for n in fragment.graph].count("trt.loop") == 1


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["BlockLSTM", "BlockLSTMV2"]), st.integers(1, 4), st.integers(1, 4), st.booleans(),
    st.sampled_from([0.0, -1.0, 0.4]),
)  # fmt: skip
def test_block_lstm_over_any_time(op: str, steps: int, length: int, peepholes: bool, clip: float) -> None:
    told = {"use_peephole": peepholes, "cell_clip": clip} | ({"forget_bias": 0.3} if op == "BlockLSTM" else {})
    operands = [Const(np.int64(min(steps, length))), numbers(length, BATCH, INPUTS), *lstm(peepholes=peepholes)]
    told_beyond = (1, 6) if steps < length else None  # TensorFlow fills nothing but cs and h with zeros there
    check(op, operands, told, unknown={"x": [1], "cs_prev": [0], "h_prev": [0]}, outputs=told_beyond)
