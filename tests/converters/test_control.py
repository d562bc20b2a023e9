"""Ops that stay in TensorFlow say why."""

import numpy as np
import pytest
import tensorflow as tf

from converters.harness import Const, refused
from tfgraphopt.graphdef import tf_op_table
from tfgraphopt_converters.control import CONVERTERS, REASONS

CASES = {
    "RandomUniform": ([Const([2, 3])], {"dtype": tf.float32}, "random"),
    "Print": ([np.ones(3, np.float32), [np.ones(2, np.float32)]], {}, "TensorFlow"),
    "ReadVariableOp": (None, {}, "state"),
}


def test_every_refused_op_exists_once():
    ops = [op for one in CONVERTERS for op in one.ops]
    assert len(set(ops)) == len(ops) == sum(len(v) for v in REASONS.values())
    table = tf_op_table()
    assert [op for op in ops if table.get(op) is None] == []


@pytest.mark.parametrize("op", [op for op, case in CASES.items() if case[0] is not None])
def test_refusals_give_their_reason(op):
    operands, attributes, word = CASES[op]
    assert word in refused(op, operands, attributes)
