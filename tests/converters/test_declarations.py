"""What all converters have in common."""

from __future__ import annotations

import collections

import pytest

from tfgraphopt.graphdef import tf_op_table
from tfgraphopt_converters import all_converters
from tfgraphopt_converters.composites.ops import OP_DEFS
from tfgraphopt_trt.converter import Converter

CONVERTERS = all_converters()


@pytest.mark.parametrize("converter", CONVERTERS, ids=lambda c: c.ops[0])
def test_signature_fits_every_op(converter: Converter) -> None:
    """Parameters are arguments and attributes that TensorFlow's own definition of the op (or ours of a composite) has."""
    table, composites = tf_op_table(), {d.name: d for d in OP_DEFS}
    for op in converter.ops:
        definition = composites.get(op) or table.get(op)
        assert definition is not None, f"TensorFlow knows no {op}"
        converter.check(definition)
    assert converter.doc


def test_no_op_is_claimed_twice() -> None:
    """One converter an op."""
    counts = collections.Counter(op for c in CONVERTERS for op in c.ops)
    assert [op for op, count in counts.items() if count > 1] == []
