"""Calibration as the framework sees it: a plugin makes calibration graphs, runs data, and optimises with what it saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import PluginError

if TYPE_CHECKING:
    from tfgraphopt.graphdef import GraphDef
    from tfgraphopt.optimization import Result
    from tfgraphopt.plugins import Tables
    from tfgraphopt.sessions import State

HOOK = "tfgraphopt_calibrations"


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@attrs.frozen(slots=True)
class CalibrationRequest:
    """What to calibrate, and on which data.

    Attributes:
        graph_def, outputs: the frozen model and what its caller fetches.
        config: how it will be optimised.
        tables: the plugins.
        data: batches: a mapping of input names to arrays each, a tuple or list in the order of the inputs, or the array of the
            only input.
        progress: called with (what, done, total).
        state: what runs need of the model beside the graph.
    """

    graph_def: GraphDef
    outputs: Sequence[str]
    config: Config
    tables: Tables
    data: Iterable[Any]
    progress: Callable[[str, int, int], None] = _silent
    state: State | None = None


@attrs.frozen(slots=True)
class Calibration:
    """How a plugin calibrates for the precision ``name``.

    Attributes:
        name: the precision.
        prepare: ``prepare(graph_def, outputs, config, tables)`` gives the calibration graph: it computes the same results and
            records while it does.
        infer: ``infer(calibration_graph, statistics, tables, progress)`` gives the optimised graph; ``statistics`` is a file of
            recorded ones, or None for those of this process.
        calibrate: runs the data of a request; gives the configuration that knows the ranges found.
        merge: ``merge(paths)`` adds up files of statistics: gives the bytes of one such file, and lines to print about it.
        overrides: the plugin whose calibration for this precision it replaces.
    """

    name: str
    prepare: Callable[[GraphDef, Sequence[str], Config, Tables], GraphDef]
    infer: Callable[[GraphDef, Path | None, Tables, Callable[[str, int, int], None]], Result]
    calibrate: Callable[[CalibrationRequest], Config]
    merge: Callable[[Sequence[Path]], tuple[bytes, Sequence[str]]]
    overrides: str = ""


def calibration_of(tables: Tables, precision: str = "int8") -> Calibration:
    """Who calibrates for ``precision``.

    Raises:
        PluginError: nobody does.
    """
    found: Calibration | None = tables.table(HOOK).get(precision)
    if found is None:
        raise PluginError(
            f"no plugin calibrates for {precision}", hint="see `tfgraphopt plugins`: int8 may be switched off"
        )
    return found
