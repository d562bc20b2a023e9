"""Resize and grid sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfgraphopt.ir import Node
from tfgraphopt_openvino.layers.attributes import flag, ints, number, text
from tfgraphopt_openvino.mapping import OpenVinoLayer, Unmapped, Writer
from tfgraphopt_trt.shape_values import known_values

_NEAREST: Mapping[str, str] = {
    "floor": "floor", "ceil": "ceil", "half_up": "round_prefer_ceil", "half_down": "round_prefer_floor",
}  # fmt: skip
_MODES: Mapping[str, str] = {"nearest": "nearest", "linear": "linear_onnx", "cubic": "cubic"}


def _resize(w: Writer, node: Node) -> Sequence[Any]:
    if flag(node, "exclude_outside"):
        raise Unmapped("OpenVINO's resize always counts elements outside of the input")
    axes = _axes(node)
    if not axes:
        return [w.tensor(node.inputs[0])]
    rules, target = _target(w, node, axes)
    made = w.ops.interpolate(
        w.tensor(node.inputs[0]), target, _MODES[text(node, "mode")], rules, axes=w.indices(axes),
        coordinate_transformation_mode=text(node, "coordinates"), nearest_mode=_NEAREST[text(node, "rounding")],
        cube_coeff=number(node, "cubic_coeff"),
    )  # fmt: skip
    return [made.output(0)]


def _axes(node: Node) -> list[int]:
    """The axes that change size, or may: the last two or three of an image."""
    scales: Any = node.attrs.get("scales")
    dims = zip(node.inputs[0].shape, node.output.shape, strict=True)
    if scales is not None and len(node.inputs) == 1 and node.attrs.get("size") is None:
        changed = [i for i, s in enumerate(scales) if float(s) != 1.0]
    else:
        changed = [i for i, (a, b) in enumerate(dims) if a is None or a != b]
    rank = len(node.inputs[0].shape)
    spatial = list(range(2, rank)) if rank in (4, 5) else changed
    return spatial if changed and set(changed) <= set(spatial) else changed


def _target(w: Writer, node: Node, axes: Sequence[int]) -> tuple[str, Any]:
    if len(node.inputs) == 2:
        known = known_values(node.inputs[1])
        if known is None or None in known:
            return "sizes", w.ops.gather(w.tensor(node.inputs[1]), w.indices(axes), w.indices(0))
        return "sizes", w.indices([int(known[a] or 0) for a in axes])
    if node.attrs.get("size") is not None:
        return "sizes", w.indices([ints(node, "size")[a] for a in axes])
    scales: Any = node.attrs["scales"]
    return "scales", w.constant(np.array([scales[a] for a in axes], np.float32))


_SAMPLES: Mapping[str, str] = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
_BORDERS: Mapping[str, str] = {"fill": "zeros", "clamp": "border", "reflect": "reflection"}


def _grid(w: Writer, node: Node) -> Sequence[Any]:
    x, grid = (w.tensor(v) for v in node.inputs)
    attributes = {
        "align_corners": flag(node, "align_corners"), "mode": _SAMPLES[text(node, "mode")],
        "padding_mode": _BORDERS[text(node, "padding")],
    }  # fmt: skip
    return [w.ops.grid_sample(x, grid, attributes).output(0)]


LAYERS = (OpenVinoLayer("trt.resize", _resize), OpenVinoLayer("trt.grid_sample", _grid))
