"""The hook that the OpenVINO plugin opens: mappings of layers."""

from __future__ import annotations

from collections.abc import Iterable

from tfgraphopt.hookspecs import contributes, hookspec
from tfgraphopt_openvino.mapping import OpenVinoLayer


@hookspec
@contributes("OpenVINO layers", lambda item: isinstance(item, OpenVinoLayer), lambda item: (item.op,))
def tfgraphopt_openvino_layers() -> Iterable[OpenVinoLayer]:  # type: ignore[empty-body]
    """How layers become OpenVINO operations; a layer without a mapping stays in TensorFlow when the engine is OpenVINO."""
