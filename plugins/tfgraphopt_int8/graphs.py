"""Calibration graphs: the caller's graph with a node that names the tensors to be watched, and the way back.

Nothing is added between the caller's nodes: TensorFlow's graph rewriting sees the original graph with one Identity behind every
output, so that results stay the same bit for bit. The node's op has the tensors recorded (recording/record.cc).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import ConfigError, GraphDefError
from tfgraphopt.graphdef import GraphDef

MARKER = "tfgraphopt_calibration"
OP = "TfgraphoptCalibration"
_SUFFIX = "/before_calibration"
_DEPTH = 12
"""No fusion of TensorFlow's takes in a longer chain of nodes."""
_PLAIN_NAMES = (
    "precision",
    "engine",
    "max_batch_size",
    "max_workspace_size_bytes",
    "minimum_segment_size",
    "strict",
    "pipeline",
    "build_timeout",
    "build_memory_bytes",
)


def fingerprint(graph_def: GraphDef) -> str:
    """A digest of a frozen graph: names, structure and weights."""
    state = hashlib.sha256()
    for node in sorted(graph_def.node, key=lambda n: n.name):
        state.update(node.SerializeToString(deterministic=True))
    return state.hexdigest()


@attrs.frozen(slots=True)
class CalibrationGraph:
    """What a calibration graph is made of.

    Attributes:
        original: the caller's graph.
        outputs: what its caller fetches.
        tensors: what is watched.
        calibration: under which name the process keeps the statistics.
        fingerprint: of the original.
        config: how the graph will be optimised.
    """

    original: GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    tensors: tuple[str, ...]
    calibration: str
    fingerprint: str
    config: Config

    def graph_def(self) -> GraphDef:
        """The calibration graph."""
        made = GraphDef()
        made.CopyFrom(self.original)
        kinds = {n.name: n.op for n in made.node}
        wrapped = [n for n in dict.fromkeys(o.partition(":")[0] for o in self.outputs) if kinds[n] != "Placeholder"]
        renamed = {n: n + _SUFFIX for n in wrapped}
        results = _result_types(self.original, wrapped)
        _rename(made, renamed)
        _mark(made, self, wrapped)
        for name in wrapped:
            _hand_on(made, name, renamed[name], results[name])
        return made

    @classmethod
    def of(cls, graph_def: GraphDef) -> CalibrationGraph:
        """What ``graph_def`` is made of; ConfigError when it is no calibration graph."""
        markers = [n for n in graph_def.node if n.op == OP]
        if len(markers) != 1:
            raise ConfigError(
                "this is no calibration graph", why=f"it has {len(markers)} nodes {OP}",
                hint='make one with create_inference_graph(..., precision_mode="INT8")',
            )  # fmt: skip
        request = json.loads(markers[0].attr["request"].s)
        wrapped = [s.decode() for s in markers[0].attr["outputs"].list.s]
        original = GraphDef()
        original.CopyFrom(graph_def)
        del original.node[:]
        original.node.extend(n for n in graph_def.node if n.op != OP and n.name not in wrapped)
        _rename(original, {n + _SUFFIX: n for n in wrapped})
        tensors = tuple(s.decode() for s in markers[0].attr["tensors"].list.s)
        config = _config_of(request["config"])
        name = markers[0].attr["calibration"].s.decode()
        return cls(original, tuple(request["outputs"]), tensors, name, request["fingerprint"], config)


def _rename(graph_def: GraphDef, names: Mapping[str, str]) -> None:
    for node in graph_def.node:
        node.name = names.get(node.name, node.name)
        for index, reference in enumerate(node.input):
            node.input[index] = _renamed(reference, names)
        if "_class" in node.attr:
            places = [p.decode() for p in node.attr["_class"].list.s]
            node.attr["_class"].list.s[:] = [(p[:5] + names.get(p[5:], p[5:])).encode() for p in places]


def _renamed(reference: str, names: Mapping[str, str]) -> str:
    control, name, index = reference[:1] == "^", *reference.removeprefix("^").partition(":")[::2]
    return ("^" if control else "") + names.get(name, name) + (f":{index}" if index else "")


def _mark(made: GraphDef, graph: CalibrationGraph, wrapped: Sequence[str]) -> None:
    if any(n.name == MARKER for n in made.node):
        raise GraphDefError(
            f"the graph has a node {MARKER!r} already", hint="pass the original graph, not a calibration graph"
        )
    renamed = {n: n + _SUFFIX for n in wrapped}
    node = made.node.add(name=MARKER, op=OP)
    node.attr["calibration"].s = graph.calibration.encode()
    node.attr["node"].s = MARKER.encode()
    node.attr["tensors"].list.s.extend(t.encode() for t in graph.tensors)
    node.attr["places"].list.s.extend(_renamed(t, renamed).encode() for t in graph.tensors)
    before = _neighbours(graph.original, graph.tensors)
    node.attr["ancestors"].list.s.extend(
        "\n".join(renamed.get(a, a) for a in before[t]).encode() for t in graph.tensors
    )
    node.attr["outputs"].list.s.extend(n.encode() for n in wrapped)
    request = {"outputs": graph.outputs, "fingerprint": graph.fingerprint, "config": _config_tree(graph.config)}
    node.attr["request"].s = json.dumps(request).encode()


def _neighbours(graph_def: GraphDef, tensors: Sequence[str]) -> dict[str, list[str]]:
    """The nodes that each tensor is computed from within a few steps, for a placeholder those that are computed from it.

    The op tells by them what TensorFlow has moved.
    """
    nodes = [n for n in graph_def.node if n.op != "Const"]
    before = {n.name: [i.partition(":")[0] for i in n.input if i[:1] != "^"] for n in nodes}
    behind: dict[str, list[str]] = {name: [] for name in before}
    for name, sources in before.items():
        for source in sources:
            if source in behind:
                behind[source].append(name)
    names = {t: t.partition(":")[0] for t in tensors}
    return {t: _within(before if before[n] else behind, n) for t, n in names.items()}


def _within(edges: Mapping[str, Sequence[str]], start: str) -> list[str]:
    seen: dict[str, None] = {}
    level = [start]
    for _ in range(_DEPTH):
        level = list(dict.fromkeys(i for name in level for i in edges[name] if i in edges and i not in seen))
        seen.update(dict.fromkeys(level))
    return list(seen)


def _result_types(graph_def: GraphDef, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """TensorFlow's numbers for the element types of the results of nodes."""
    from tfgraphopt.graphdef import import_graph_def

    graph = import_graph_def(graph_def, list(names)).main
    return {n: tuple(v.dtype.number for v in graph.node(n).outputs) for n in names}


def _hand_on(made: GraphDef, name: str, source: str, types: Sequence[int]) -> None:
    """A node under an output's name that waits for the marker, so that the recording is done when the output is there."""
    if not types:
        made.node.add(name=name, op="NoOp", input=[f"^{source}", f"^{MARKER}"])
        return
    inputs = [source if i == 0 else f"{source}:{i}" for i in range(len(types))]
    node = made.node.add(name=name, op="Identity" if len(types) == 1 else "IdentityN", input=[*inputs, f"^{MARKER}"])
    if len(types) == 1:
        node.attr["T"].type = types[0]
    else:
        node.attr["T"].list.type.extend(types)


# -- the configuration as JSON ---------------------------------------------------------------------------------------------


def _config_tree(config: Config) -> dict[str, Any]:
    tree = {name: getattr(config, name) for name in _PLAIN_NAMES}
    shapes = {n: [attrs.astuple(r) for r in ranges] for n, ranges in config.input_shapes.items()}
    denied = {"denied_ops": sorted(config.denied_ops), "denied_nodes": config.denied_nodes}
    options = {k: v for k, v in config.options.items() if _is_plain(v)}
    return {**tree, **denied, "input_shapes": shapes, "options": options}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _config_of(tree: Mapping[str, Any]) -> Config:
    shapes = {n: [ShapeRange(*points) for points in ranges] for n, ranges in tree["input_shapes"].items()}
    return Config(**{**tree, "input_shapes": shapes})
