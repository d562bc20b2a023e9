"""The calls of calibration: making a calibration graph, running data through it, and optimising with what was seen."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfgraphopt.calibration import Calibration, CalibrationRequest
from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef, import_graph_def
from tfgraphopt.instruments import Verify
from tfgraphopt.optimization import Result, op_table, optimize_graph_def, pipeline_of
from tfgraphopt.passes import Context, PassManager, Step
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Report
from tfgraphopt.sessions import is_bound, open_session
from tfgraphopt_int8 import recording
from tfgraphopt_int8.coverage import findings
from tfgraphopt_int8.feeding import Batch, Feeder, samples_of
from tfgraphopt_int8.graphs import CalibrationGraph, fingerprint
from tfgraphopt_int8.int8 import PLANNING, Int8, calibrator_of
from tfgraphopt_int8.qat import has_own_ranges
from tfgraphopt_int8.settings import Settings, with_options
from tfgraphopt_int8.statistics import Statistics, merge_all

Progress = Callable[[str, int, int], None]
_PATIENCE = 8
_MOVED = 0.01
"""Calibration has converged when no range grew by more than this share in so many batches in a row."""


# -- planning ------------------------------------------------------------------------------------------------------------


def tensors_needed(graph_def: GraphDef, outputs: Sequence[str], config: Config, tables: Tables) -> tuple[str, ...]:
    """The tensors of the graph whose ranges its INT8 form needs."""
    module = import_graph_def(graph_def, list(outputs), ops=op_table(tables))
    ctx = Context(module, config, tables, Report(), {PLANNING: {}})
    PassManager(until_int8(pipeline_of(config, tables).steps), (Verify(),)).run(ctx)
    return tuple(sorted({name for names in ctx.facts[PLANNING].values() for name in names}))


def until_int8(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps of a pipeline up to the pass int8; ConfigError when it is not there."""
    places = [i for i, step in enumerate(steps) if isinstance(step, Int8)]
    if not places:
        raise ConfigError(
            "the pipeline has no pass int8: nothing would be quantised", hint="leave the pipeline to tfgraphopt"
        )
    return tuple(steps[: places[0] + 1])


def calibration_graph(graph_def: GraphDef, outputs: Sequence[str], config: Config, tables: Tables) -> CalibrationGraph:
    """The parts of the calibration graph.

    Raises:
        ConfigError: nothing in the graph can be quantised.
    """
    needed = tensors_needed(graph_def, outputs, config, tables)
    if not needed:
        raise ConfigError(
            "nothing in this graph can be quantised",
            hint="`tfgraphopt explain --precision int8` says of each layer why; fp16 may be what you want",
        )
    _check_outputs(graph_def, outputs)
    recording.load()
    return CalibrationGraph(graph_def, tuple(outputs), needed, uuid.uuid4().hex, fingerprint(graph_def), config)


def _check_outputs(graph_def: GraphDef, outputs: Sequence[str]) -> None:
    names = {n.name for n in graph_def.node}
    unknown = [o for o in outputs if o.partition(":")[0] not in names]
    if unknown:
        raise ConfigError("there are no such nodes to fetch", where=unknown)


def _prepare(graph_def: GraphDef, outputs: Sequence[str], config: Config, tables: Tables) -> GraphDef:
    if has_own_ranges(graph_def):
        return optimize_graph_def(graph_def, outputs, config, tables=tables).graph_def
    return calibration_graph(graph_def, outputs, config, tables).graph_def()


# -- what was seen -------------------------------------------------------------------------------------------------------


def recorded(graph: CalibrationGraph) -> Statistics:
    """What this process has seen while it ran ``graph``."""
    seen = recording.observed(graph.calibration)
    tensors = {name: o.statistics for name, o in seen.items() if o.statistics.batches}
    return Statistics(graph.fingerprint, tensors, graph.tensors, Settings.of(graph.config).calibrator[0])


def statistics_of(calib_graph: GraphDef) -> Statistics:
    """What this process has seen while it ran a calibration graph; save it, or merge it with that of other processes."""
    return recorded(CalibrationGraph.of(calib_graph))


def _infer(calib_graph: GraphDef, path: Path | None, tables: Tables, progress: Progress) -> Result:
    graph = CalibrationGraph.of(calib_graph)
    given = Settings.of(graph.config).statistics
    parts = [p for p in (given, None if path is None else Statistics.load(path)) if p is not None]
    for part in parts:
        part.check(graph.fingerprint)
    total = merge_all([recorded(graph), *parts])
    if not total.batches:
        raise ConfigError(
            "the calibration graph has not been run on data", where=total.missing, why="there are no statistics of these tensors",
            hint="run it on some hundred samples first, in this process, or pass statistics that were saved",
        )  # fmt: skip
    config = with_options(graph.config, statistics=total)
    return _with_findings(
        optimize_graph_def(graph.original, graph.outputs, config, tables=tables, progress=progress), total
    )


def _with_findings(result: Result, statistics: Statistics) -> Result:
    for finding in findings(statistics):
        result.report.say(f"calibration: {finding}")
    return result


# -- running data --------------------------------------------------------------------------------------------------------


def _calibrate(request: CalibrationRequest) -> Config:
    """The request's configuration with the statistics of its data."""
    if request.config.precision != "int8":
        raise ConfigError(
            f"precision {request.config.precision} needs no calibration data", hint='ask for precision "int8"'
        )
    settings = Settings.of(request.config)
    resumed = None if settings.resume is None or not settings.resume.exists() else Statistics.load(settings.resume)
    graph = calibration_graph(request.graph_def, request.outputs, request.config, request.tables)
    if resumed is not None:
        resumed.check(graph.fingerprint)
    calibrator_of(request.tables, settings)  # a wrong name is an error before the work, not after it
    try:
        _run(graph, request, settings)
        total = merge_all([recorded(graph), *([resumed] if resumed else [])])
    except KeyboardInterrupt:
        _save(merge_all([recorded(graph), *([resumed] if resumed else [])]), settings)
        raise
    finally:
        recording.forget(graph.calibration)
    _save(total, settings)
    return with_options(request.config, statistics=total)


def _save(statistics: Statistics, settings: Settings) -> None:
    if settings.save is not None and statistics.batches:
        statistics.save(settings.save)


def _run(graph: CalibrationGraph, request: CalibrationRequest, settings: Settings) -> None:
    main, state = import_graph_def(request.graph_def, list(request.outputs)).main, request.state
    feeder = Feeder.of(n for n in main if not is_bound(n.name, state))
    fetches = [_tensor(o) for o in request.outputs]
    session = open_session(graph.graph_def(), state)  # not entered: data of a tf.data.Dataset is iterated over eagerly
    try:
        step = lambda batch: session.run(fetches, {_tensor(n): a for n, a in batch.items()})  # noqa: E731
        _loop(feeder.batches(request.data), step, graph.calibration, request.progress, settings)
    finally:
        session.close()


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _loop(
    batches: Iterable[Batch], step: Callable[[Batch], Any], calibration: str, progress: Progress, settings: Settings
) -> None:
    """Run batches until there are enough samples, or no range has moved for a while."""
    samples, quiet = 0, 0
    peaks: Mapping[str, float] = {}
    for index, batch in enumerate(batches):
        step(_cut(batch, settings.samples, samples))
        samples += samples_of(batch)
        progress(
            f"calibrating: {samples} samples",
            index,
            max(index + 1, (settings.samples or 0) // max(samples_of(batch), 1)),
        )
        now = {name: o.statistics.amax for name, o in recording.observed(calibration).items()}
        quiet = quiet + 1 if _settled(peaks, now) else 0
        peaks = now
        if (settings.samples is not None and samples >= settings.samples) or (
            settings.early_stop and quiet >= _PATIENCE
        ):
            return


def _cut(batch: Batch, limit: int | None, done: int) -> Batch:
    """The batch without the samples beyond the limit."""
    left = None if limit is None else limit - done
    if left is None or samples_of(batch) <= left or samples_of(batch) == 1:
        return batch
    return {name: array[:left] if array.ndim else array for name, array in batch.items()}


def _settled(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    return bool(before) and all(now[n] <= before.get(n, 0.0) * (1 + _MOVED) for n in now)


# -- shards --------------------------------------------------------------------------------------------------------------


def _merge(paths: Sequence[Path]) -> tuple[bytes, Sequence[str]]:
    total = merge_all(Statistics.load(p) for p in paths)
    lines = [f"{len(paths)} files, {len(total.tensors)} tensors, {total.batches} batches", *map(str, findings(total))]
    return json.dumps(total.to_json()).encode(), lines


CALIBRATION = Calibration("int8", _prepare, _infer, _calibrate, _merge)
