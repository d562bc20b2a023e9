"""Element types: what TensorRT computes in, and refusals of the rest."""

from __future__ import annotations

from tfgraphopt.ir import DType, Value
from tfgraphopt_trt.builder import LayerBuilder, Unsupported

FLOATS = frozenset({DType.FLOAT, DType.HALF, DType.BFLOAT16})
INTEGERS = frozenset({DType.INT32, DType.INT64})
NUMBERS = FLOATS | INTEGERS
BOOLS = frozenset({DType.BOOL})


def require(b: LayerBuilder, dtypes: frozenset[DType], *operands: Value) -> None:
    """Unsupported unless every operand has one of ``dtypes``."""
    for x in operands:
        if x.dtype not in dtypes:
            names = ", ".join(sorted(d.tf_name for d in dtypes))
            raise Unsupported(f"TensorRT computes {b.op} in {names}, not in {x.dtype.tf_name}")
