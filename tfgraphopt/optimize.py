"""optimize(): import, run the pipeline, export; and the result that it gives back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt import plugins
from tfgraphopt.calibration import CalibrationRequest, calibration_of
from tfgraphopt.config import Config
from tfgraphopt.errors import PluginError
from tfgraphopt.graphdef import GraphDef, export_graph_def, import_graph_def, tf_op_table
from tfgraphopt.instruments import Timing, Verify
from tfgraphopt.ir import Module
from tfgraphopt.passes import Context, Instrument, PassManager
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
    """An optimised graph and everything that is known about how it came to be."""

    module: Module
    report: Report
    config: Config
    tables: Tables
    graph_def: GraphDef = attrs.field(repr=False)


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
    report = Report(plugins=[str(p) for p in tables.plugins])
    report.messages += [str(f) for f in tables.failures]
    started = time.perf_counter()
    progress("importing", 0, 1)
    module = import_graph_def(graph_def, list(outputs), ops=op_table(tables))
    original = {n.name: n.op for n in module.main}
    report.nodes = len(original)
    _warn_of_variables(module, report)
    ctx = Context(module, config, tables, report, progress=progress)
    pipeline = pipeline_of(config, tables)
    report.pipeline = str(pipeline)
    own = (Verify(), Timing(), *_plugin_instruments(tables, config))
    PassManager(pipeline.steps, (*own, *instruments)).run(ctx)
    _account(original, module, report)
    progress("exporting", 0, 1)
    result = Result(module, report, config, tables, _export(module, report, graph_def))
    report.seconds = time.perf_counter() - started
    tables.call("tfgraphopt_finished", {"report": report})
    return result


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
    if report.segments and any(s.status != "build failed" for s in report.segments.values()):
        return export_graph_def(module)
    report.say("no part of the graph was converted: it is returned unchanged")
    unchanged = GraphDef()
    unchanged.CopyFrom(original)
    return unchanged


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
