"""Every op that is promised (required_ops.toml) has a converter or a reason, and what is documented is what was tested."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.plugins import load
from tfgraphopt_converters import all_converters
from tfgraphopt_trt.converter import Converter

REQUIRED = tomllib.loads((Path(__file__).parent / "required_ops.toml").read_text())
RECORD = json.loads((Path(__file__).parents[2] / "docs" / "conversions.json").read_text())
CONVERTERS: dict[str, Converter] = dict(load(strict=True).table("tfgraphopt_trt_converters"))


def promised(part: str) -> list[str]:
    return [op for ops in REQUIRED[part].values() for op in ops]


def test_tf_trt_had_121() -> None:
    ops = promised("tftrt")
    assert len(ops) == len(set(ops)) == 121


@pytest.mark.parametrize("part", ["tftrt", "asked", "control_flow"])
def test_every_promised_op_has_a_converter_or_a_reason(part: str) -> None:
    assert [op for op in promised(part) if op not in CONVERTERS and op not in REQUIRED["no_op"]] == []


def test_names_that_are_no_ops_are_none() -> None:
    assert [op for op in REQUIRED["no_op"] if tf_op_table().get(op) is not None] == []


def test_what_is_never_converted_says_why() -> None:
    never = {op for c in all_converters() if c.refusal for op in c.ops}
    assert {"Unique", "Assert", "BitwiseAnd", "ReadVariableOp", "RandomUniform"} <= never
    assert all(c.refusal.strip() for c in all_converters() if set(c.ops) & never)


def test_every_converter_was_tried() -> None:
    """The record in docs/conversions.json is written by these tests (see converters.ledger) and covers every op."""
    ops = [op for c in all_converters() if not c.refusal for op in c.ops if tf_op_table().get(op) is not None]
    untried = [op for op in ops if not RECORD.get(op, {}).get("cases")]
    assert set(untried) <= {*BY_PARTS, *promised("control_flow")}


def test_every_case_was_built() -> None:
    """But for those of layers that TensorRT for RTX has no kernels for."""
    assert {
        op: r["unbuilt"] for op, r in RECORD.items() if r["unbuilt"] or r["built"] + r["emitted"] < r["cases"]
    } == {}
    assert all(r["built"] for op, r in RECORD.items() if r["cases"] and op not in NO_KERNELS)


NO_KERNELS = (
    "Where", "NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5",
    "CombinedNonMaxSuppression",
)  # fmt: skip
"""Ops that become NonZero or NMS."""


BY_PARTS = (
    "_FusedBatchNormEx", "_FusedDepthwiseConv2dNative", "_FusedConv3D", "_CopyFromHostToGpu", "_CopyFromGpuToHost", "Conj",
)  # fmt: skip
"""Ops that TensorFlow runs on a GPU or with oneDNN only, whose tests take the parts as the oracle; Conj of real numbers is none."""
