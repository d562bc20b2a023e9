"""Reproducer: when a pass fails, everything that is needed to see it fail again, in one directory.

``module.ir`` is the module before the pass, ``tensors/`` its large constants, ``opaque/`` functions that are carried unread, and
``reproducer.json`` says the rest of the pipeline, the configuration, plugins and versions, and the error. Where passes before
have left results outside the IR (``Context.facts``, segments of the report), ``input.ir`` is the module as it came in, and a
replay starts there with the whole pipeline.
"""

from __future__ import annotations

import base64
import json
import platform
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np

from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import ConfigError, TfGraphOptError
from tfgraphopt.ir import DType, Graph, Module, Shape, Tensor
from tfgraphopt.ir.text import parse_module, print_module
from tfgraphopt.passes import ENDPOINT, Context, Instrument, Pass, PassManager, PassTable, Quiet, Step
from tfgraphopt.plugins import Tables
from tfgraphopt.rewrite import REWRITE_BUDGET, REWRITE_LOG

FORMAT = 1


@attrs.define(slots=True, eq=False)
class Reproducer(Quiet):
    """On failure write a reproducer into ``directory`` and note its path on the error; a ConfigError is the caller's own to mend.

    The module is printed before every pass that finds it changed, which costs a few microseconds a node (and, once, a digest of
    every large constant).
    """

    directory: Path = attrs.field(converter=Path)
    _input: _Snapshot | None = attrs.field(default=None, init=False)
    _last: _Snapshot | None = attrs.field(default=None, init=False)

    def enter(self, ctx: Context) -> None:
        """Forget the run before."""
        self._input = self._last = None

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Take a snapshot."""
        if self._last is None or ctx.module.version != self._last.version:
            self._last = _Snapshot.of(ctx.module)
            self._input = self._input or self._last

    def failed(self, step: Pass, graph: Graph, ctx: Context, error: BaseException, rest: Sequence[Step]) -> None:
        """Write the last snapshot and what would have followed."""
        if isinstance(error, ConfigError):
            return
        assert self._last is not None
        assert self._input is not None
        where = self.directory
        where.mkdir(parents=True, exist_ok=True)
        (where / "module.ir").write_text(self._last.text)
        facts = _facts(step, graph, ctx, error, rest)
        tensors = dict(self._last.tensors)
        if _leaves_results(ctx):
            (where / "input.ir").write_text(self._input.text)
            tensors |= self._input.tensors
            facts |= {"from": "input.ir", "pipeline": ctx.report.pipeline}
        facts["tensors"] = _write_tensors(where / "tensors", tensors)
        _write_opaque(where, ctx.module)
        (where / "reproducer.json").write_text(json.dumps(facts, indent=1))
        error.add_note(f"to see it again: python -m tfgraphopt reproduce {where}")


@attrs.frozen(slots=True)
class _Snapshot:
    """A module as text, the large constants that the text only names, and the version of the module."""

    text: str
    tensors: dict[str, Tensor]
    version: int

    @classmethod
    def of(cls, module: Module) -> _Snapshot:
        tensors: dict[str, Tensor] = {}
        return cls(print_module(module, tensors=tensors), tensors, module.version)


def _leaves_results(ctx: Context) -> bool:
    """Whether earlier passes have left what the IR does not hold, and it is known how to come by it again."""
    known = {ENDPOINT, REWRITE_LOG, REWRITE_BUDGET}
    return bool(ctx.report.pipeline) and bool(ctx.facts.keys() - known or ctx.report.segments)


def _write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write constants by digest; what types they are of."""
    folder.mkdir(exist_ok=True)
    for digest, tensor in tensors.items():
        if tensor.dtype.has_numpy:
            (folder / digest).write_bytes(_bytes_of(tensor))
    return {d: [t.dtype.text, list(t.shape.static())] for d, t in tensors.items()}


def _facts(step: Pass, graph: Graph, ctx: Context, error: BaseException, rest: Sequence[Step]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "from": "module.ir",
        "pass": str(step),
        "graph": graph.name,
        "pipeline": ",".join(str(s) for s in rest),
        "error": "".join(traceback.format_exception(error)),
        "config": config_to_json(ctx.config),
        "plugins": [attrs.asdict(p) for p in ctx.tables.plugins],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            **_versions("tensorflow", "tfgraphopt"),
        },
    }


def _versions(*distributions: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# -- constants and functions -------------------------------------------------------------------------------------------


def _bytes_of(tensor: Tensor) -> bytes:
    array = tensor.numpy()
    if tensor.dtype is DType.STRING:
        items = [s.encode() if isinstance(s, str) else bytes(s) for s in array.reshape(-1)]
        return json.dumps([base64.b64encode(i).decode() for i in items]).encode()
    return np.ascontiguousarray(array).tobytes()


def _tensor_of(data: bytes, dtype: DType, dims: Sequence[int]) -> Tensor:
    if dtype is DType.STRING:
        array = np.empty(int(np.prod(dims)), np.object_)
        array[:] = [base64.b64decode(item) for item in json.loads(data)]
    else:
        array = np.frombuffer(data, dtype.np)
    return Tensor(dtype, Shape(dims), lambda: array.reshape(tuple(dims)))


def _write_opaque(where: Path, module: Module) -> None:
    from tfgraphopt.graphdef import opaque_to_bytes

    for number, (name, function) in enumerate(module.opaque_functions.items()):
        (where / "opaque").mkdir(exist_ok=True)
        (where / "opaque" / f"{number}.pb").write_bytes(opaque_to_bytes(name, function))


# -- configurations ----------------------------------------------------------------------------------------------------


def config_to_json(config: object) -> Any:
    """A tree of plain values of a configuration (an attrs class, or anything with ``__dict__``)."""
    kind: Any = type(config)
    if attrs.has(kind):
        return _plain({f.name: getattr(config, f.name) for f in attrs.fields(kind)})
    return _plain(dict(getattr(config, "__dict__", {})))


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return config_to_json(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def config_of_json(tree: Mapping[str, Any]) -> Any:
    """The configuration of :func:`config_to_json`'s tree: a Config where it is one, else a namespace."""
    names = {f.name for f in attrs.fields(Config)}
    if not names <= tree.keys():
        return SimpleNamespace(**tree)
    values = {name: tree[name] for name in names}
    values["input_shapes"] = {n: [ShapeRange(**r) for r in ranges] for n, ranges in tree["input_shapes"].items()}
    return Config(**values)


# -- replay ------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Reproduction:
    """A reproducer that was read: the context to start from, the pipeline from there, and the facts as written."""

    context: Context
    pipeline: tuple[Step, ...]
    facts: Mapping[str, Any]


def load_reproduction(path: str | Path, tables: Tables | None = None) -> Reproduction:
    """Read the reproducer in directory ``path``; passes and ops come from ``tables`` (all installed plugins by default).

    Raises:
        TfGraphOptError: it is no reproducer, or one of another format.
        ParseError, PipelineError: its module or pipeline cannot be read, say because a plugin is missing.
    """
    from tfgraphopt import plugins
    from tfgraphopt.graphdef import opaque_of_bytes, tf_op_table
    from tfgraphopt.pipeline import Pipeline
    from tfgraphopt.report import Report

    where = Path(path)
    facts = _read_facts(where)
    tables = tables or plugins.load()
    passes: PassTable = tables.table("tfgraphopt_passes")
    tensors = {
        digest: _tensor_of((where / "tensors" / digest).read_bytes(), DType.of_text(dtype), dims)
        for digest, (dtype, dims) in facts["tensors"].items()
        if (where / "tensors" / digest).exists()
    }
    opaque = dict(opaque_of_bytes(p.read_bytes()) for p in sorted((where / "opaque").glob("*.pb")))
    ops = tf_op_table().with_defs(tables.items("tfgraphopt_op_defs"))
    module = parse_module((where / facts["from"]).read_text(), ops, tensors=tensors, opaque=opaque)
    context = Context(module, config_of_json(facts["config"]), tables, Report(plugins=[str(p) for p in tables.plugins]))
    return Reproduction(context, Pipeline.parse(facts["pipeline"], passes).steps, facts)


def _read_facts(where: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((where / "reproducer.json").read_text())
    except (OSError, ValueError) as error:
        hint = "give the directory that the failure named"
        raise TfGraphOptError(f"{where} is not a reproducer", why=str(error), hint=hint) from error
    if facts.get("format") != FORMAT:
        raise TfGraphOptError(
            f"{where} is a reproducer of format {facts.get('format')}; this version reads format {FORMAT}"
        )
    return facts


def replay(path: str | Path, tables: Tables | None = None, instruments: Sequence[Instrument] | None = None) -> Module:
    """Run the rest of the pipeline of the reproducer in directory ``path``; returns the module if it does not fail this time.

    Raises:
        Whatever the pipeline raises, as it did when the reproducer was written.
    """
    from tfgraphopt.instruments.verification import Verify

    found = load_reproduction(path, tables)
    around = (Verify(),) if instruments is None else tuple(instruments)
    PassManager(found.pipeline, around).run(found.context)
    return found.context.module
