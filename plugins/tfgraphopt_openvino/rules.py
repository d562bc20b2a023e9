"""What OpenVINO's CPU engine cannot take, told per node before segments are formed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfgraphopt.config import Config
from tfgraphopt.ir import DType, Node, Value, constant_of
from tfgraphopt.plugins import Tables
from tfgraphopt_openvino.mapping import LAYERS_HOOK, OpenVinoLayer
from tfgraphopt_openvino.model import refusal
from tfgraphopt_openvino.openvino_api import NAME, load
from tfgraphopt_trt.hookspecs import LayerRule, SegmentRule


def _unmapped(layer: Node, config: Config, tables: Tables) -> str | None:
    if config.engine != NAME:
        return None
    mappings: Mapping[str, OpenVinoLayer] = tables.table(LAYERS_HOOK)
    return refusal(layer, mappings, load())


_LIMIT = 2**31
_SMALL = frozenset({"Shape", "ShapeN", "Size", "Rank", "ArgMax", "ArgMin", "InvertPermutation", "Range"})
"""Ops whose int64 results are positions and sizes, which 32 bits hold."""
_LOOKUPS = frozenset(
    {"Gather", "GatherV2", "GatherNd", "OneHot", "ScatterNd", "TensorScatterUpdate", "ReverseSequence"}
)
"""Ops that read int64 operands as positions."""
_STEPS = 64


def _wide_integers(node: Node, config: Config) -> str | None:
    """OpenVINO's CPU engine narrows int64 to int32: fine for sizes and positions, wrong for numbers of any size."""
    if config.engine != NAME or node.op in _LOOKUPS or node.op == "Const":
        return None
    wide = [v for v in node.inputs if v.dtype is DType.INT64]
    unknown = [v.name for v in wide if not _is_small(v, _STEPS)]
    if not unknown:
        return None
    return f"OpenVINO's CPU engine computes 64-bit integers in 32 bits, and %{unknown[0]} may be any number"


def _is_small(value: Value, steps: int) -> bool:
    tensor = constant_of(value)
    if tensor is not None:
        return tensor.num_elements == 0 or bool(np.abs(tensor.numpy().astype(np.float64)).max() < _LIMIT)
    if value.dtype in (DType.INT32, DType.INT8, DType.UINT8, DType.BOOL, DType.INT16, DType.UINT16):
        return True
    producer = value.producer
    if producer is None or value.dtype is not DType.INT64 or steps == 0:
        return False
    if producer.op in _SMALL:
        return True
    return bool(producer.inputs) and all(_is_small(v, steps - 1) for v in producer.inputs)


SEGMENT_RULES = (SegmentRule("openvino-wide-integers", _wide_integers),)
LAYER_RULES = (LayerRule("openvino-mapping", _unmapped),)
