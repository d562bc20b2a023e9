"""Matrix products."""

from __future__ import annotations

from tfgraphopt.ir import DType, Value
from tfgraphopt_converters.dtypes import FLOATS, require
from tfgraphopt_converters.fusion import Epilogue
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Converter, Operands, converter, never

BYTES = frozenset({DType.INT8, DType.UINT8})


def _product(b: LayerBuilder, x: Value, y: Value, turn_x: bool, turn_y: bool) -> Value:
    require(b, FLOATS, x, y)
    x, y = b.equal_ranks(x, y)
    return b.matrix_multiply(x, y, transpose_a=turn_x, transpose_b=turn_y)


@converter("MatMul")
def convert_matmul(layers: LayerBuilder, a: Operand, b: Operand, *, transpose_a: bool, transpose_b: bool) -> Value:
    """Two matrices."""
    return _product(layers, a, b, transpose_a, transpose_b)


@converter("BatchMatMul", "BatchMatMulV2")
def convert_batch_matmul(b: LayerBuilder, x: Operand, y: Operand, *, adj_x: bool, adj_y: bool) -> Value:
    """Matrices in the last two axes; leading axes broadcast."""
    return _product(b, x, y, adj_x, adj_y)


@converter("BatchMatMulV3")
def convert_batch_matmul_v3(b: LayerBuilder, x: Operand, y: Operand, *, adj_x: bool, adj_y: bool) -> Value:
    """As BatchMatMulV2; operands of another type are cast to the result's, a floating one, first."""
    require(b, FLOATS | BYTES, x, y)
    to = b.results[0].dtype
    if to not in FLOATS:
        raise Unsupported(f"a product in {to.tf_name}; TensorRT multiplies matrices of floats only")
    return _product(b, b.cast(x, to), b.cast(y, to), adj_x, adj_y)


@converter("_FusedMatMul")
def convert_fused_matmul(
    layers: LayerBuilder, a: Operand, b: Operand, args: Operands, *, transpose_a: bool, transpose_b: bool,
    fused_ops: tuple[str, ...], epsilon: float, leakyrelu_alpha: float,
) -> Value:  # fmt: skip
    """Grappler's matrix product with bias, summand and activation."""
    y = _product(layers, a, b, transpose_a, transpose_b)
    return Epilogue(fused_ops, "NHWC", epsilon, leakyrelu_alpha).apply(layers, y, args)


SPARSE = never("it exploits sparse operands; TensorRT multiplies dense matrices only", "SparseMatMul")


CONVERTERS: tuple[Converter, ...] = (
    convert_matmul, convert_batch_matmul, convert_batch_matmul_v3, convert_fused_matmul, SPARSE,
)  # fmt: skip
