"""What decides about the plan of an OpenVINO engine, as its key in the engine cache."""

from __future__ import annotations

import hashlib
import marshal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.plugins import Tables
from tfgraphopt_openvino.mapping import LAYERS_HOOK, OpenVinoLayer
from tfgraphopt_openvino.openvino_api import OpenVino
from tfgraphopt_trt.engine_cache import content_key
from tfgraphopt_trt.profiles import Profile


@attrs.frozen(slots=True)
class PlanKeys:
    """Keys of plans: body, weights and profiles, OpenVINO's version, properties, and the code that writes models.

    Attributes:
        openvino: what compiles the model.
        properties: OpenVINO's properties of the compilation, the precision hint among them.
        least: operations below which a segment gets no plan; 0 when each gets one.
        writers: the plugins whose mappings write models, with their versions, and the digest of the mappings' source.
    """

    openvino: OpenVino
    properties: Mapping[str, str]
    least: int
    writers: Mapping[str, str]

    def of(self, graph: Graph, profiles: Sequence[Profile]) -> str:
        """The key of one lowered body."""
        facts = {
            "openvino": self.openvino.build,
            "properties": dict(self.properties),
            "least": self.least,
            "writers": dict(self.writers),
        }
        return content_key(graph, profiles, facts)


def writers(tables: Tables) -> dict[str, str]:
    """The plugins that map layers, each with the digest of its code: a changed mapping may write another model."""
    mappings: Mapping[str, OpenVinoLayer] = tables.table(LAYERS_HOOK)
    by_plugin: dict[str, list[Any]] = {}
    for op, mapping in sorted(mappings.items()):
        by_plugin.setdefault(tables.owner(LAYERS_HOOK, op), []).append(mapping.emit)
    known = {info.name: str(info) for info in tables.plugins}
    return {known.get(name, name): _digest(functions) for name, functions in by_plugin.items()}


def _digest(functions: Sequence[Any]) -> str:
    """Of the files of the packages that the functions come from (helpers decide as well), or of the code itself where there is no file."""
    packages = {function.__module__.partition(".")[0] for function in functions if hasattr(function, "__module__")}
    files = sorted({path for package in packages for path in _files(package)})
    code = [] if files else [marshal.dumps(f.__code__) for f in functions if hasattr(f, "__code__")]
    state = hashlib.sha256()
    for content in (*(path.read_bytes() for path in files), *code):
        state.update(hashlib.sha256(content).digest())
    return state.hexdigest()


def _files(package: str) -> list[Path]:
    """The Python files of a package, or of a module in none."""
    module = sys.modules.get(package)
    folders = list(getattr(module, "__path__", ()))
    own = getattr(module, "__file__", None)
    if folders:
        return [path for folder in folders for path in Path(folder).rglob("*.py")]
    return [Path(own)] if own else []
