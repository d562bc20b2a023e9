"""Plans of OpenVINO engines: the model as OpenVINO's IR behind a header that says for which shapes to compile it.

``runtime/plan.h`` describes the format and reads it.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfgraphopt.ir import Graph, Value
from tfgraphopt_openvino.openvino_api import OpenVino
from tfgraphopt_trt.profiles import Profile

Ranges = tuple[tuple[int, int], ...]
Variant = tuple[Ranges, ...]
"""Per input the smallest and the largest size of each dimension (-1: any)."""

_MAGIC = "tfgraphopt-openvino 1"
_ALIGNMENT = 64


def variants(graph: Graph, profiles: Sequence[Profile]) -> list[Variant]:
    """The shapes that the model is compiled for: the points of the profiles, each on its own, then the ranges between them.

    A model of one shape is faster than one of a range, so every shape that the user named gets its own; the optimum comes
    first. The ranges are sorted so that the first one which fits is the tightest. With no profile, whatever the graph takes.
    """
    points = [_fixed(graph, profile, name) for name in ("opt", "max", "min") for profile in profiles]
    ranges = sorted((_between(graph, profile) for profile in profiles), key=_volume)
    return list(dict.fromkeys([*points, *ranges])) or [tuple(_own(value) for value in graph.inputs)]


def _fixed(graph: Graph, profile: Profile, point: str) -> Variant:
    return tuple(
        tuple((d, d) for d in getattr(profile[i], point)) if i in profile else _own(value)
        for i, value in enumerate(graph.inputs)
    )


def _between(graph: Graph, profile: Profile) -> Variant:
    return tuple(
        tuple(zip(profile[i].min, profile[i].max, strict=True)) if i in profile else _own(value)
        for i, value in enumerate(graph.inputs)
    )


def _own(value: Value) -> Ranges:
    return tuple((0, -1) if d is None else (d, d) for d in value.shape)


def _volume(variant: Variant) -> int:
    total = 1
    for low, high in itertools.chain.from_iterable(variant):
        total *= high - low + 1
    return total


def pack(
    model: Any, graph: Graph, shapes: Sequence[Variant], properties: Mapping[str, str], openvino: OpenVino
) -> bytes:
    """The plan of ``model``, which computes ``graph``; the same bytes for the same arguments."""
    xml, weights = _serialized(model, openvino)
    lines = [_MAGIC]
    lines += [f"input {value.dtype.number}" for value in graph.inputs]
    lines += [f"output {value.dtype.number}" for value in graph.outputs]
    lines += [f"property {name} {value}" for name, value in sorted(properties.items())]
    lines += [" ".join(["variant", *(_word(ranges) for ranges in shape)]) for shape in shapes]
    lines += [f"xml {len(xml)}", f"weights {len(weights)}", "end", ""]
    head = "\n".join(lines).encode() + xml
    return head + b"\0" * (-len(head) % _ALIGNMENT) + weights


def _word(ranges: Ranges) -> str:
    return "x".join(f"{low}:{high}" for low, high in ranges) or "-"


def _serialized(model: Any, openvino: OpenVino) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="tfgraphopt-") as folder:
        xml, weights = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.module.serialize(model, str(xml), str(weights))
        return xml.read_bytes(), weights.read_bytes()
