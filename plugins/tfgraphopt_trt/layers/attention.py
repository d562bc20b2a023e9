"""IAttention: softmax(query x keys) x values as one layer, which TensorRT runs as one kernel where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfgraphopt.ir import Attrs, Node, TensorType, Value
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers.emission import mask, operands, outputs
from tfgraphopt_trt.layers.rules import FLOATS, check, check_arity, check_dtype, check_same, dims_of, merge_dims, typed

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter


def _infer(inputs: Sequence[Value], attrs: Attrs) -> list[TensorType]:
    check_arity(inputs, 3, 3, "attention")
    check_same(inputs, "attention")
    dtype = check_dtype(inputs[0], FLOATS, "attention")
    query, key, value = (dims_of(v) for v in inputs)
    check(all(len(d) == 4 for d in (query, key, value)), "attention takes tensors of [batch, heads, length, size]")
    lead = merge_dims("attention", merge_dims("attention", query[:2], key[:2]), value[:2])
    merge_dims("attention", query[3:], key[3:])
    merge_dims("attention: TensorRT wants keys and values of one shape", key[2:], value[2:])
    return typed(dtype, [*lead, query[2], value[3]])


def _mean(tf: Any, inputs: Sequence[Any], attrs: Attrs) -> Sequence[Any]:
    """The scores and their softmax in single precision, as fused kernels keep them."""
    query, key, value = (tf.cast(v, tf.float32) for v in inputs)
    weights = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
    return [tf.cast(tf.matmul(weights, value), inputs[0].dtype)]


def _emit(e: Emitter, node: Node) -> Sequence[Any]:
    if not hasattr(e.network, "add_attention"):
        return _emit_products(e, node)
    layer = e.network.add_attention(*operands(e, node), e.trt.AttentionNormalizationOp.SOFTMAX, False)
    layer.decomposable = True
    return outputs(e, layer)


def _emit_products(e: Emitter, node: Node) -> Sequence[Any]:
    """For TensorRT before 10.14, which has no such layer."""
    query, key, value = operands(e, node)
    plain, transposed = e.trt.MatrixOperation.NONE, e.trt.MatrixOperation.TRANSPOSE
    scores = e.add(e.network.add_matrix_multiply(query, plain, key, transposed)).get_output(0)
    weights = e.network.add_softmax(scores)
    weights.axes = mask([3])
    return outputs(e, e.network.add_matrix_multiply(e.add(weights).get_output(0), plain, value, plain))


LAYERS: tuple[LayerDef, ...] = (
    LayerDef(
        "trt.attention",
        _infer,
        _mean,
        _emit,
        {},
        ("query", "key", "value"),
        "IAttention: ``softmax(query @ key^T) @ value`` over [batch, heads, length, size]; scale the query before it.",
    ),
)
