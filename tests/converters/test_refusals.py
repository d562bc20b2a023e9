"""Refusals that belong to no law of their own: each with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.harness import Const, refused
from converters.tensors import normal

SCALED = [normal([1, 4, 4, 1]), Const([8, 8]), Const([2.0, 2.0]), Const([0.0, 0.0])]
REASONS: list[tuple[str, str, Any, dict[str, Any], Any]] = [
    ("batch axes", "Conv", [normal([2, 2, 6, 6, 3]), Const(normal([3, 3, 3, 4]))],
     {"strides": [1, 1, 1, 1], "padding": "VALID", "batch_dims": 2}, "none"),
    ("coordinates without entries", "Where", [np.float32(1)], {}, "none"),
    ("neither channels-last nor channels-first", "MaxPool", [normal([1, 2, 4, 4, 4])],
     {"ksize": [1, 1, 2, 2], "strides": [1, 1, 2, 2], "padding": "VALID", "data_format": "NCHW_VECT_C"}, "none"),
    ("align_corners together with half_pixel_centers", "ResizeBicubic", [normal([1, 4, 4, 1]), Const([8, 8])],
     {"align_corners": True, "half_pixel_centers": True}, "none"),
    ("kernel 'mystery'", "ScaleAndTranslate", SCALED, {"kernel_type": "mystery"}, "none"),
    ("no elements", "BroadcastArgs", [np.zeros(0, np.int32), np.ones(2, np.int32)], {}, "none"),
    ("with 5 dimensions", "DepthToSpace", [normal([1, 4, 4, 4, 4])],
     {"block_size": 2, "data_format": "NCHW_VECT_C"}, "none"),
    ("rank of", "Squeeze", [normal([1, 2])], {}, "all"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "op", "inputs", "attributes", "unknown"), REASONS, ids=[f"{r[1]}-{r[0]}" for r in REASONS]
)
def test_reason(words: str, op: str, inputs: Any, attributes: dict[str, Any], unknown: Any) -> None:
    """The reason says what stands in the way."""
    assert words in refused(op, inputs, attributes, unknown=unknown)
