"""The hooks of the framework: each returns data, and is called once per optimisation.

A plugin implements any of them with ``@tfgraphopt.hookimpl`` in a module or object that its distribution names in the entry-point
group ``tfgraphopt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pluggy

if TYPE_CHECKING:
    from tfgraphopt.benchmark import Contestant, EngineRequest
    from tfgraphopt.caches import ManagedCache
    from tfgraphopt.calibration import Calibration
    from tfgraphopt.diagnosis import Diagnosis
    from tfgraphopt.ir import Graph, OpDef
    from tfgraphopt.passes import Context, Instrument, Pass
    from tfgraphopt.report import Advice, Report
    from tfgraphopt.runtimes import EngineRuntime
    from tfgraphopt.verification import Verification, VerifyRequest

PROJECT = "tfgraphopt"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
_F = TypeVar("_F", bound=Callable[..., Any])


@attrs.frozen(slots=True)
class Contributes:
    """What the items of a hook are: their type, what they claim, and their plural name in listings."""

    item: Callable[[object], bool]
    keys: Callable[[Any], Iterable[str]]
    noun: str


def contributes(noun: str, item: Callable[[object], bool], keys: Callable[[Any], Iterable[str]]) -> Callable[[_F], _F]:
    """Mark a hook specification as one whose items are checked and must not clash: ``keys(item)`` are what an item claims."""

    def mark(function: _F) -> _F:
        function.tfgraphopt_contributes = Contributes(item, keys, noun)  # type: ignore[attr-defined]
        return function

    return mark


def _is_op_def(item: object) -> bool:
    from tfgraphopt.ir import OpDef

    return isinstance(item, OpDef)


def _is_pass(item: object) -> bool:
    from tfgraphopt.passes import Pass, check_pass_class

    if not (isinstance(item, type) and issubclass(item, Pass)):
        return False
    check_pass_class(item)
    return True


def _is_pattern(item: object) -> bool:
    return hasattr(item, "match_and_rewrite") or hasattr(item, "rewrite")


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)


@hookspec(historic=True)
def tfgraphopt_addhooks(pluginmanager: pluggy.PluginManager) -> None:
    """Open hooks of your own: call ``pluginmanager.add_hookspecs(module)`` with a module of specifications."""


@hookspec
@contributes("op definitions", _is_op_def, lambda item: (item.name,))
def tfgraphopt_op_defs() -> Iterable[OpDef]:  # type: ignore[empty-body]
    """Op definitions: ops that TensorFlow does not know, or better facts about ones that it does."""


@hookspec
@contributes("passes", _is_pass, lambda item: (item.name,))
def tfgraphopt_passes() -> Iterable[type[Pass]]:  # type: ignore[empty-body]
    """Pass classes: frozen attrs classes derived from :class:`tfgraphopt.Pass`."""


@hookspec
@contributes("patterns", _is_pattern, lambda item: (item.name,))
def tfgraphopt_patterns() -> Iterable[Any]:  # type: ignore[empty-body]
    """Rewrite patterns; each names the pass that hosts it."""


@hookspec
@contributes("pipelines", _is_pair, lambda item: (item[0],))
def tfgraphopt_pipelines() -> Iterable[tuple[str, str]]:  # type: ignore[empty-body]
    """Named pipelines as (name, text) pairs."""


def _is_runtime(item: object) -> bool:
    from tfgraphopt.runtimes import EngineRuntime

    return isinstance(item, EngineRuntime)


@hookspec
@contributes("engine runtimes", _is_runtime, lambda item: (item.name,))
def tfgraphopt_runtimes() -> Iterable[EngineRuntime]:  # type: ignore[empty-body]
    """What makes a process able to run the plugin's engine nodes.

    The entry-point group ``tfgraphopt.runtimes`` names the same object under the plugin's name: a process that imports tfgraphopt and
    TensorFlow loads it from there, without the plugin (:mod:`tfgraphopt.runtimes`); ``import tfgraphopt.runtime`` loads all of them by this
    hook, and raises what keeps them from being loaded.
    """


def _is_calibration(item: object) -> bool:
    from tfgraphopt.calibration import Calibration

    return isinstance(item, Calibration)


@hookspec
@contributes("calibrations", _is_calibration, lambda item: (item.name,))
def tfgraphopt_calibrations() -> Iterable[Calibration]:  # type: ignore[empty-body]
    """Calibration for precisions that need to know the ranges of tensors."""


def _is_cache(item: object) -> bool:
    from tfgraphopt.caches import ManagedCache

    return isinstance(item, ManagedCache)


@hookspec
@contributes("caches", _is_cache, lambda item: (item.name,))
def tfgraphopt_caches() -> Iterable[ManagedCache]:  # type: ignore[empty-body]
    """What the plugin keeps on this machine, so that ``tfgraphopt cache`` lists, prunes and clears it."""


def _is_diagnosis(item: object) -> bool:
    from tfgraphopt.diagnosis import Diagnosis

    return isinstance(item, Diagnosis)


@hookspec
@contributes("diagnoses", _is_diagnosis, lambda item: (item.name,))
def tfgraphopt_diagnoses() -> Iterable[Diagnosis]:  # type: ignore[empty-body]
    """What ``tfgraphopt doctor`` looks into for the plugin: what is installed, what would run, what is missing."""


@hookspec
def tfgraphopt_instruments(config: Any) -> Iterable[Instrument]:  # type: ignore[empty-body]
    """Instruments to put around the passes of one optimisation with configuration ``config``."""


@hookspec
def tfgraphopt_verify(request: VerifyRequest) -> Verification | None:
    """Predict how far results are off under ``request.config``, with no engine built; None leaves it to another plugin."""


@hookspec
def tfgraphopt_advice(step: Pass, graph: Graph, ctx: Context) -> Iterable[Advice] | None:
    """What the caller could do for a better result, found just before ``step`` runs on ``graph``; asked by ``explain`` only.

    The graph is to be looked at, not changed.
    """


@hookspec
def tfgraphopt_bench_engine(request: EngineRequest) -> Contestant | None:
    """Run the engine in file ``request.plan`` without TensorFlow, for a benchmark; None leaves the file to another plugin."""


@hookspec
def tfgraphopt_finished(report: Report) -> None:
    """An optimisation is over; ``report`` is complete. The only hook that is an event."""
