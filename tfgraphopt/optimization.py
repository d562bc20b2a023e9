"""optimize(): import, run the pipeline, export; and the result that it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt import plugins
from tfgraphopt.calibration import CalibrationRequest, calibration_of
from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import ConfigError, PluginError
from tfgraphopt.formats.model import Endpoint, Model, Writing
from tfgraphopt.graphdef import (
    GraphDef,
    export_graph_def,
    import_graph_def,
    rename_changed_functions,
    tf_op_table,
)
from tfgraphopt.instruments import Timing, Verify
from tfgraphopt.ir import Module
from tfgraphopt.passes import ENDPOINT, Context, Instrument, PassManager
from tfgraphopt.pipeline import Pipeline, solve
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Report, Verdict

if TYPE_CHECKING:
    from tfgraphopt.ir import OpTable

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@attrs.frozen(slots=True)
class Result:
    """An optimised model and everything that is known about how it came to be.

    Attributes:
        module, report: those of the first endpoint of the model (the signature ``serving_default`` where there is one).
        config, tables: what it was optimised with.
        parts: for every endpoint that was optimised (signatures; functions of models without), its own result.
        inputs, outputs: names of the nodes to feed and the tensors to fetch of :attr:`graph_def`, by their structured names.
        original: the graph that was optimised, where it came as a GraphDef.
    """

    module: Module
    report: Report
    config: Config
    tables: Tables
    exported: GraphDef | None = attrs.field(default=None, repr=False)
    inputs: Mapping[str, str] = attrs.field(factory=dict)
    outputs: Mapping[str, str] = attrs.field(factory=dict)
    parts: Mapping[str, Result] = attrs.field(factory=dict, repr=False)
    model: Model | None = attrs.field(default=None, repr=False)
    original: GraphDef | None = attrs.field(default=None, repr=False)

    @cached_property
    def graph_def(self) -> GraphDef:
        """The optimised graph, frozen; where the model has state or tables, their handles are inputs of it."""
        return export_graph_def(self.module) if self.exported is None else self.exported

    @cached_property
    def functions(self) -> Mapping[str, Any]:
        """The optimised model as functions of TensorFlow, by signature, or by name where the model has no signatures.

        The first time, the engine op is registered in this process (see :mod:`tfgraphopt.runtime`).

        Raises:
            NativeBuildError: the engine op cannot be compiled.
        """
        from tfgraphopt.formats.functions import load_functions

        return load_functions(self)

    @property
    def function(self) -> Any:
        """The optimised model as one function: what a function or Keras model was, else the signature ``serving_default``.

        A signature takes its inputs by name (a single one also by position) and gives a mapping of its outputs; a function takes and
        gives what it always did, nested structures included.
        """
        functions = self.functions
        return next(iter(functions.values()))

    def save(self, path: str | Path) -> Path:
        """Write the optimised model as a SavedModel, engines as assets; one that is there is replaced.

        Everything that was not optimised is as it was: all signatures and functions, variables, assets, tables. A process that loads
        it imports :mod:`tfgraphopt` first.

        Raises:
            ConfigError: something that is no SavedModel is at ``path``, or this result is not that of a whole model.
            GraphDefError: the model is larger than protocol buffers can be.
        """
        from tfgraphopt.formats.writing import write_directory

        model = self.model
        if model is None:
            raise ConfigError("this result is part of a model", hint="save the result of tfgraphopt.optimize() itself")
        parts = {
            name: Endpoint(name, part.module, part.inputs, part.outputs)
            for name, part in self.parts.items()
            if part.is_converted
        }
        plans = [r.plans for r in self.tables.items("tfgraphopt_runtimes") if r.plans is not None]
        how = Writing(plans, self.config.max_embedded_bytes)
        write_directory(Path(path), lambda directory: model.write(directory, parts, how))
        return Path(path)

    def write_tensorboard(self, logdir: str | Path) -> list[str]:
        """Write the original and the optimised graphs, and the body of every engine, for ``tensorboard --logdir``.

        Weights and plans are left out. Returns the names of the runs, which TensorBoard's graph page lists.
        """
        from tfgraphopt.formats.drawings import write_tensorboard

        return write_tensorboard(self, Path(logdir))

    def write_netron(self, directory: str | Path) -> list[Path]:
        """Write the same graphs as ``.pb`` files that Netron opens, a file each; returns their paths."""
        from tfgraphopt.formats.drawings import write_netron

        return write_netron(self, Path(directory))

    @property
    def is_converted(self) -> bool:
        """Whether any engine is in it."""
        return _has_engines(self.report)


def optimize(
    model: Any,
    *,
    outputs: Sequence[str] | None = None,
    signatures: Sequence[str] | None = None,
    tags: Sequence[str] = ("serve",),
    config: Config | None = None,
    precision: str | None = None,
    engine: str | None = None,
    input_shapes: Mapping[str, ShapeRange | Sequence[ShapeRange]] | None = None,
    max_batch_size: int | None = None,
    max_workspace_size_bytes: int | None = None,
    minimum_segment_size: int | None = None,
    denied_ops: Iterable[str] | None = None,
    denied_nodes: Iterable[str] | None = None,
    strict: bool | None = None,
    pipeline: str | None = None,
    engine_dir: Path | str | None = None,
    max_embedded_bytes: int | None = None,
    build_timeout: float | None = None,
    build_memory_bytes: int | None = None,
    options: Mapping[str, Any] | None = None,
    calibration_data: Iterable[Any] | None = None,
    tables: Tables | None = None,
    instruments: Sequence[Instrument] = (),
    progress: Progress = _silent,
) -> Result:
    """Optimise a model in whatever form it comes.

    Variables that the model only reads become constants where an engine takes them; all others, tables, assets and strings stay.

    Args:
        model: a GraphDef, a path of a ``.pb`` or ``.pbtxt`` file, a SavedModel or TF-Hub directory, a Keras model or its ``.keras`` or
            ``.h5`` file, a ``tf.function`` with an input signature or one trace, a ConcreteFunction, or a TF1 checkpoint with its
            ``.meta`` file. It is not changed.
        outputs: node or tensor names to fetch, of a GraphDef or a TF1 graph; by default its signatures, or all its ends.
        signatures: which signatures (or functions, by their path from the root) of a SavedModel to optimise; by default every
            signature, or else every function of the root. The others stay as they are.
        tags: which meta graph of a SavedModel.
        config: options; those that are given by themselves, from ``precision`` to ``options``, replace its own (see :class:`Config`).
        calibration_data: for precision int8, batches as for :func:`optimize_graph_def`, of the one signature that is optimised.
        tables: plugins to use; all installed ones by default.
        instruments: to put around the passes of every endpoint.
        progress: called with (what, done, total).

    Raises:
        GraphDefError: the model cannot be read, or has no such signature or output.
        ConfigError: an option is wrong, or does not go with this kind of model.
        MissingDependency: what builds the engines, or Keras, is not installed.
    """
    given: dict[str, Any] = {
        "precision": precision, "engine": engine, "input_shapes": input_shapes, "max_batch_size": max_batch_size,
        "max_workspace_size_bytes": max_workspace_size_bytes, "minimum_segment_size": minimum_segment_size, "denied_ops": denied_ops,
        "denied_nodes": denied_nodes, "strict": strict, "pipeline": pipeline, "engine_dir": engine_dir,
        "max_embedded_bytes": max_embedded_bytes, "build_timeout": build_timeout, "build_memory_bytes": build_memory_bytes,
        "options": options,
    }  # fmt: skip
    config = attrs.evolve(config or Config(), **{name: value for name, value in given.items() if value is not None})
    from tfgraphopt.formats.open import open_model

    progress("loading", 0, 1)
    tables = tables or plugins.load(strict=config.strict)
    source = open_model(model, outputs=outputs, tags=tags)
    endpoints = source.endpoints(op_table(tables), signatures)
    if calibration_data is not None and len(endpoints) != 1:
        raise ConfigError(
            f"calibration data for {len(endpoints)} signatures", where=[e.name for e in endpoints],
            hint="say by signatures= which of them the data is for",
        )  # fmt: skip
    parts: dict[str, Result] = {}
    for index, endpoint in enumerate(endpoints):
        parts[endpoint.name] = _optimize_endpoint(
            endpoint, index, config, tables, instruments, calibration_data, progress
        )
    return attrs.evolve(next(iter(parts.values())), parts=parts, model=source)


def _optimize_endpoint(
    endpoint: Endpoint, index: int, config: Config, tables: Tables, instruments: Sequence[Instrument],
    calibration_data: Iterable[Any] | None, progress: Progress,
) -> Result:  # fmt: skip
    own = _ranges_of(endpoint, config)
    report = _new_report(tables)
    report.messages += endpoint.notes
    if calibration_data is not None:
        graph_def, outputs = export_graph_def(endpoint.module), list(endpoint.outputs.values())
        request = CalibrationRequest(graph_def, outputs, own, tables, calibration_data, progress, endpoint.state)
        own = calibration_of(tables, own.precision).calibrate(request)
    result = _run(endpoint.module, own, tables, report, instruments, progress, {ENDPOINT: index})
    unchanged = None if endpoint.original is None or result.is_converted else _copy(endpoint.original)
    return attrs.evolve(result, exported=unchanged, inputs=endpoint.inputs, outputs=endpoint.outputs)


def _ranges_of(endpoint: Endpoint, config: Config) -> Config:
    """The configuration for one endpoint: ranges are given by the structured names of inputs."""
    names = {name: endpoint.inputs.get(name, name) for name in config.input_shapes}
    return attrs.evolve(config, input_shapes={names[name]: ranges for name, ranges in config.input_shapes.items()})


def optimize_graph_def(
    graph_def: GraphDef,
    outputs: Sequence[str],
    config: Config | None = None,
    *,
    tables: Tables | None = None,
    instruments: Sequence[Instrument] = (),
    calibration_data: Iterable[Any] | None = None,
    progress: Progress = _silent,
) -> Result:
    """Optimise a frozen GraphDef.

    Args:
        graph_def: is not changed.
        outputs: names of the nodes (or tensors) that the caller fetches.
        config: options; FP32 TensorRT engines for batch 1 by default.
        tables: plugins to use; all installed ones by default.
        instruments: to put around the passes, besides verification, timing and those of plugins.
        calibration_data: batches to find the ranges of tensors on, for precision int8: a mapping of input names to arrays each, a
            tuple in the order of the inputs, or the array of the only input.
        progress: called with (what, done, total).

    Raises:
        GraphDefError: the graph cannot be imported.
        ConfigError: an option is wrong.
        PluginError: plugins clash, or in strict mode are broken.
    """
    config = config or Config()
    tables = tables or plugins.load(strict=config.strict)
    if calibration_data is not None:
        request = CalibrationRequest(graph_def, outputs, config, tables, calibration_data, progress)
        config = calibration_of(tables, config.precision).calibrate(request)
    progress("importing", 0, 1)
    module = import_graph_def(graph_def, list(outputs), ops=op_table(tables))
    result = _run(module, config, tables, _new_report(tables), instruments, progress)
    progress("exporting", 0, 1)
    return attrs.evolve(result, exported=_export(module, result.report, graph_def), original=graph_def)


def _new_report(tables: Tables) -> Report:
    report = Report(plugins=[str(p) for p in tables.plugins])
    report.messages += [str(f) for f in tables.failures]
    return report


def _run(
    module: Module, config: Config, tables: Tables, report: Report, instruments: Sequence[Instrument], progress: Progress,
    facts: Mapping[str, Any] | None = None,
) -> Result:  # fmt: skip
    """Run the pipeline over a module."""
    started = time.perf_counter()
    original = {n.name: n.op for n in module.main}
    report.nodes = len(original)
    _warn_of_variables(module, report)
    ctx = Context(module, config, tables, report, dict(facts or {}), progress)
    pipeline = pipeline_of(config, tables)
    report.pipeline = str(pipeline)
    own = (Verify(), Timing(), *_plugin_instruments(tables, config))
    PassManager(pipeline.steps, (*own, *instruments)).run(ctx)
    rename_changed_functions(module)
    _account(original, module, report)
    report.seconds = time.perf_counter() - started
    if not _has_engines(report):
        report.say("no part of the graph was converted: it is returned unchanged")
    tables.call("tfgraphopt_finished", {"report": report})
    return Result(module, report, config, tables)


def _has_engines(report: Report) -> bool:
    return any(s.status != "build failed" for s in report.segments.values())


def _account(original: Mapping[str, str], module: Module, report: Report) -> None:
    """Let the report speak of the caller's own nodes, in their order: every one gets a verdict.

    A node that passes made of the caller's (a folded constant) hands its verdict on to those. Nodes that came out of functions are
    the caller's too and keep theirs.
    """
    known = dict(report.verdicts)
    report.verdicts.clear()
    for verdict in [v for v in known.values() if v.node not in original]:
        for name in [o for o in verdict.origin if o in original and o not in known]:
            known[name] = attrs.evolve(verdict, node=name, op=original[name])
            known.pop(verdict.node, None)
    for name, op in original.items():
        stays = module.main.find(name) is not None
        verdict = Verdict(name, op, "not a candidate", _UNDECIDED) if stays else Verdict(name, op, "simplified", _GONE)
        report.verdicts[name] = known.pop(name, verdict)
    report.verdicts.update(known)


_UNDECIDED = "no pass decides what becomes of it"
_GONE = "folded into a constant, merged with an equal node, inlined, or of no influence on any output"


def _warn_of_variables(module: Module, report: Report) -> None:
    count = sum(n.op in _VARIABLES for n in module.main)
    if count:
        report.say(
            f"the graph has {count} variables; engines need constants: freeze it first (or pass the SavedModel itself)"
        )


_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})


def _export(module: Module, report: Report, original: GraphDef) -> GraphDef:
    if _has_engines(report):
        return export_graph_def(module)
    return _copy(original)


def _copy(graph_def: GraphDef) -> GraphDef:
    copy = GraphDef()
    copy.CopyFrom(graph_def)
    return copy


def _plugin_instruments(tables: Tables, config: Config) -> list[Instrument]:
    return [i for made in tables.call("tfgraphopt_instruments", {"config": config}) for i in made]


def op_table(tables: Tables) -> OpTable:
    """TensorFlow's op definitions with those of the plugins over them."""
    return tf_op_table().with_defs(tables.items("tfgraphopt_op_defs"))


def pipeline_of(config: Config, tables: Tables) -> Pipeline:
    """The pipeline that the configuration asks for, validated; by default the one that all default passes make.

    Raises:
        PluginError: there is no pass at all.
    """
    passes: Mapping[str, Any] = tables.table("tfgraphopt_passes")
    if config.pipeline is None:
        return solve(p() for p in passes.values() if p.default)
    if not passes:
        raise PluginError("no plugin provides passes", hint="is tfgraphopt installed with its entry points?")
    named = tables.table("tfgraphopt_pipelines").get(config.pipeline)
    return Pipeline.parse(named[1] if named else config.pipeline, passes).validate()
