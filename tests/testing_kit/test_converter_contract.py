"""The one-line contract on shipped converters, one of each kind; the rest have tests of their own."""

from __future__ import annotations

from tfgraphopt_converters import all_converters
from tfgraphopt_trt.converter import Converter
from tfgraphopt_trt.testing import converter_contract


def _of(op: str) -> Converter:
    return next(c for c in all_converters() if op in c.ops)


test_relu = converter_contract(_of("Relu"), op="Relu", rtol=1e-4, atol=1e-5)
test_conv2d = converter_contract(_of("Conv2D"), op="Conv2D", rtol=1e-4, atol=1e-5)
test_strided_slice = converter_contract(_of("StridedSlice"), op="StridedSlice", rtol=1e-4, atol=1e-5)
test_batch_norm = converter_contract(_of("FusedBatchNormV3"), op="FusedBatchNormV3", rtol=1e-4, atol=1e-5)
test_softmax = converter_contract(_of("Softmax"), op="Softmax", rtol=1e-4, atol=1e-5)
test_concat = converter_contract(_of("ConcatV2"), op="ConcatV2", rtol=1e-4, atol=1e-5)
