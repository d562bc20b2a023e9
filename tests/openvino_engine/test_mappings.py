"""Every layer, run by OpenVINO, against the same expectations from numpy that the layers' meanings are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from trt_layers.harness import Array, Case, check_all, combined
from trt_layers.test_layers import BY_LAYER

from tfgraphopt.ir import DType, Graph, Value
from tfgraphopt_openvino.layers import all_layers
from tfgraphopt_openvino.model import build_model, refusal
from tfgraphopt_openvino.openvino_api import load
from tfgraphopt_trt.layers import all_layers as trt_layers

MAPPINGS = {layer.op: layer for layer in all_layers()}
OPENVINO = load()
REFUSED = {
    "trt.non_zero": "depends on the data",
    "trt.nms": "depends on the data",
    "trt.loop": "stay in TensorFlow",
    "trt.conditional": "stay in TensorFlow",
    "slice-wrap": "wraps around",
    "slice-fill-strided": "step one",
    "pow-int32": "floating point",
    "pow-int64": "floating point",
    "div-int8": "8-bit integers",
    "floor_div-int8": "8-bit integers",
}
"""Layers, or cases of them, that OpenVINO cannot take, with a part of the reason; it takes everything else."""


def _refusals(case: Case) -> list[str]:
    found = (refusal(node, MAPPINGS, OPENVINO) for node in case.graph())
    return [reason for reason in found if reason]


def _is_refused(case: Case) -> bool:
    return case.op in REFUSED or case.name in REFUSED


def _tensor(array: Array, value: Value) -> Any:
    ov = OPENVINO.module
    if value.dtype is DType.BFLOAT16:
        tensor = ov.Tensor(ov.Type.bf16, ov.Shape(array.shape))
        tensor.data.view(np.uint16)[...] = array.view(np.uint16)
        return tensor
    return ov.Tensor(np.array(array))


def _array(tensor: Any, value: Value) -> Array:
    data = np.array(tensor.data)
    return data.view(value.dtype.np) if value.dtype is DType.BFLOAT16 else data.astype(value.dtype.np, copy=False)


def _run(graph: Graph, feeds: Sequence[Array]) -> list[Array]:
    model = build_model(graph, MAPPINGS, OPENVINO)
    request = (
        OPENVINO.module.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    )
    for index, (array, value) in enumerate(zip(feeds, graph.inputs, strict=True)):
        request.set_input_tensor(index, _tensor(array, value))
    request.infer()
    return [_array(request.get_output_tensor(i), value) for i, value in enumerate(graph.outputs)]


@pytest.mark.parametrize("unknown", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("op", sorted(BY_LAYER))
def test_openvino_computes_what_the_layer_means(op: str, unknown: bool) -> None:
    cases = [case for case in BY_LAYER[op] if not _is_refused(case)]
    assert [r for case in cases for r in _refusals(case)] == []
    if cases:
        graph, feeds = combined(cases, unknown)
        check_all(cases, graph, _run(graph, feeds))


@pytest.mark.parametrize("op", sorted(BY_LAYER))
def test_what_openvino_cannot_take_is_refused_with_the_reason(op: str) -> None:
    for case in filter(_is_refused, BY_LAYER[op]):
        reason = REFUSED.get(case.op) or REFUSED[case.name]
        assert any(reason in r for r in _refusals(case)), (case.name, _refusals(case))


def test_every_shipped_layer_is_mapped_or_refused_by_name() -> None:
    assert {layer.op for layer in trt_layers()} <= MAPPINGS.keys()
