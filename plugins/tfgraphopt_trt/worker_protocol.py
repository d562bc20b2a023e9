"""What passes between a process and its builder process: frames of JSON and raw bytes, no pickles."""

from __future__ import annotations

import importlib
import json
import struct
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from tfgraphopt.errors import ConfigError, EngineBuildFailed, MissingDependency, TfGraphOptError
from tfgraphopt.ir import Graph, OpTable, nodes_within
from tfgraphopt.ir.core import CONSTANT_OPS
from tfgraphopt.ir.pack import pack, unpack
from tfgraphopt_trt.build_options import BuildOptions, BuildResult, NoBuilder
from tfgraphopt_trt.emit import EmitError
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.profiles import InputRange, Profile, ValueRange

_LENGTHS = struct.Struct("<QQ")

Request = tuple[Graph, dict[str, LayerDef], list[Profile], BuildOptions]


def send(stream: IO[bytes], header: Any, body: bytes = b"") -> None:
    """Write one frame."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(body)))
    stream.write(text)
    stream.write(body)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[Any, bytes]:
    """Read one frame; EOFError when the other side is gone."""
    text, body = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    return json.loads(_exactly(stream, text)), _exactly(stream, body)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError(f"{len(data)} of {count} bytes")
    return data


# -- requests --------------------------------------------------------------------------------------------------------


def request(
    graph: Graph, layers: Mapping[str, LayerDef], profiles: Sequence[Profile], options: BuildOptions
) -> tuple[Any, bytes]:
    """A build as a frame; ConfigError when a layer cannot be imported by another process."""
    used = {
        node.op: layers[node.op] for node in nodes_within(graph) if node.op in layers and node.op not in CONSTANT_OPS
    }
    header = {
        "sources": layer_sources(used.values()),
        "profiles": [[[i, *_range_to_json(r)] for i, r in profile.items()] for profile in profiles],
        "options": options.to_json(),
    }
    return header, pack(graph)


def read_request(header: Any, body: bytes) -> Request:
    """The build that :func:`request` described, with its layers imported."""
    layers = {op: _import_layer(source, op) for op, source in header["sources"].items()}
    profiles: list[Profile] = [{i: _range(r) for i, *r in profile} for profile in header["profiles"]]
    graph = unpack(body, OpTable(layer.op_def() for layer in layers.values()))
    return graph, layers, profiles, BuildOptions.from_json(header["options"])


def _range_to_json(wanted: InputRange) -> list[Any]:
    values = wanted.values and [wanted.values.min, wanted.values.opt, wanted.values.max]
    return [wanted.min, wanted.opt, wanted.max, values]


def _range(data: Sequence[Any]) -> InputRange:
    low, opt, high, values = data
    return InputRange(low, opt, high, values and ValueRange(*values))


def layer_sources(layers: Iterable[LayerDef]) -> dict[str, str]:
    """Where another process finds each layer: ``module:name`` of the layer, or of a collection that holds it, by op.

    Raises:
        ConfigError: a layer is in no importable module's global names.
    """
    found = {layer.op: _source(layer) for layer in layers}
    lost = sorted(op for op, source in found.items() if source is None)
    if lost:
        raise ConfigError(
            f"a builder process cannot import the definition of {', '.join(lost)}",
            hint="keep layers in a global name of an importable module (a LayerDef, or a tuple, list or dict of them)",
        )
    return {op: source for op, source in found.items() if source is not None}


def _source(layer: LayerDef) -> str | None:
    for module in _likely_modules(layer):
        for name, value in list(vars(sys.modules[module]).items()):
            if any(held is layer for held in _layers_in(value)):
                return f"{module}:{name}"
    return None


def _likely_modules(layer: LayerDef) -> Iterator[str]:
    """The modules of the layer's functions, then every other one that is loaded."""
    every = dict.fromkeys((layer.emit.__module__, layer.infer.__module__, *sys.modules))
    yield from (name for name in every if name != "__main__" and hasattr(sys.modules.get(name), "__dict__"))


def _layers_in(value: Any) -> Iterator[LayerDef]:
    if isinstance(value, LayerDef):
        yield value
    elif type(value) in (tuple, list):
        yield from (v for v in value if isinstance(v, LayerDef))
    elif type(value) is dict:
        yield from (v for v in value.values() if isinstance(v, LayerDef))


def _import_layer(source: str, op: str) -> LayerDef:
    module, _, name = source.partition(":")
    for layer in _layers_in(getattr(importlib.import_module(module), name)):
        if layer.op == op:
            return layer
    raise ConfigError(f"{source} has no layer {op!r} in the builder process")


# -- replies ---------------------------------------------------------------------------------------------------------

_ERRORS: Mapping[str, type[TfGraphOptError]] = {
    kind.__name__: kind for kind in (EmitError, EngineBuildFailed, NoBuilder, ConfigError, MissingDependency)
}


def reply(result: BuildResult) -> tuple[Any, bytes]:
    """A successful build as a frame."""
    return {"result": result.to_json()}, result.plan


def error_reply(error: Exception) -> tuple[Any, bytes]:
    """A failed build as a frame; errors that are not ours travel as EngineBuildFailed with their traceback."""
    if type(error).__name__ not in _ERRORS or not isinstance(error, TfGraphOptError):
        text = "".join(traceback.format_exception(error))
        error = EngineBuildFailed(f"the builder raised {type(error).__name__}: {error}", why=text)
    fields = {"what": error.what, "where": error.where, "why": error.why, "hint": error.hint}
    if isinstance(error, EmitError):
        fields["node"] = error.node
    return {"error": type(error).__name__, "fields": fields}, b""


def read_reply(header: Any, body: bytes) -> BuildResult:
    """The result of a build; raises the error that the builder raised."""
    if "result" in header:
        return BuildResult.from_json(header["result"], body)
    fields = header["fields"]
    raise _ERRORS[header["error"]](fields.pop("what"), **fields)
