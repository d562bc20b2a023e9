"""Passes and the manager that runs them.

A pass is a frozen attrs class: its fields are its options. It is written for one graph; the manager visits every graph of its
dialect, functions included. It returns nothing: whether it changed anything is read off the graph's version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import attrs

from tfgraphopt.errors import PassFailed, PipelineError, TfGraphOptError
from tfgraphopt.ir import Graph, Module

if TYPE_CHECKING:
    from tfgraphopt.plugins import Tables
    from tfgraphopt.report import Report


@attrs.frozen(slots=True)
class Pass:
    """One rewriting step; subclass it as a frozen attrs class and write :meth:`run`.

    Class attributes:
        name: kebab-case, unique; what pipelines are written with.
        after, before: passes that, where present, come earlier or later.
        needs, provides, drops: named facts; a needed fact must be provided earlier and not dropped since.
        dialect: which graphs it is run on (``"tf"``, ``"trt"``), or None: once, on the main graph.
        default: whether default pipelines contain it.
    """

    name: ClassVar[str] = ""
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]] = frozenset()
    provides: ClassVar[frozenset[str]] = frozenset()
    drops: ClassVar[frozenset[str]] = frozenset()
    dialect: ClassVar[str | None] = "tf"
    default: ClassVar[bool] = True

    def run(self, graph: Graph, ctx: Context) -> None:
        """Rewrite ``graph`` in place."""
        raise NotImplementedError(f"pass {type(self).__name__} has no run method")

    def applies(self, ctx: Context) -> bool:
        """Whether the configuration wants this pass at all."""
        return True

    @property
    def options(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        fields = attrs.fields(type(self))
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != _default(f)}

    def __str__(self) -> str:
        from tfgraphopt.pipeline import format_options

        return self.name + format_options(self.options)


def _default(field: attrs.Attribute[Any]) -> Any:
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return field.default.factory()  # type: ignore[union-attr]
    return field.default


ENDPOINT = "endpoint"
"""The fact that tells which one of a model's callables (0, 1, ...) is being optimised; absent where there is only one."""


@attrs.define(slots=True, eq=False)
class Context:
    """What a pass may use: the module, the caller's configuration, the plugins' tables and the report it writes into.

    ``facts`` are results that one pass leaves for a later one, by name. ``steps`` is the pipeline that is being run, for a pass
    that makes graphs late and lets the steps that they have missed catch up (:meth:`PassManager.catch_up`).
    """

    module: Module
    config: Any
    tables: Tables
    report: Report
    facts: dict[str, Any] = attrs.field(factory=dict)
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    steps: tuple[Step, ...] = ()


class Instrument(Protocol):
    """Something around passes: verification, timing, dumps. All methods are optional in spirit; inherit :class:`Quiet`."""

    def enter(self, ctx: Context) -> None:
        """A pipeline starts."""

    def exit(self, ctx: Context) -> None:
        """A pipeline is over, also after a failure."""

    def should_run(self, step: Pass, graph: Graph, ctx: Context) -> bool:
        """Whether ``step`` shall be run on ``graph``."""

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """``step`` is about to run on ``graph``."""

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """``step`` has run on ``graph``."""

    def failed(self, step: Pass, graph: Graph, ctx: Context, error: BaseException, rest: Sequence[Step]) -> None:
        """``step`` raised; ``rest`` is what would have followed, itself first."""


class Quiet:
    """An instrument that does nothing; override what you need."""

    def enter(self, ctx: Context) -> None:
        """Do nothing."""

    def exit(self, ctx: Context) -> None:
        """Do nothing."""

    def should_run(self, step: Pass, graph: Graph, ctx: Context) -> bool:
        """Run everything."""
        return True

    def before(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Do nothing."""

    def after(self, step: Pass, graph: Graph, ctx: Context) -> None:
        """Do nothing."""

    def failed(self, step: Pass, graph: Graph, ctx: Context, error: BaseException, rest: Sequence[Step]) -> None:
        """Do nothing."""


@attrs.frozen(slots=True)
class Fixpoint:
    """Repeats its steps until none changes anything; PipelineError after ``max`` rounds."""

    steps: tuple[Step, ...]
    max: int = 16

    def __str__(self) -> str:
        options = "" if self.max == 16 else f"{{max={self.max}}}"
        return f"fixpoint({','.join(str(s) for s in self.steps)}){options}"


Step = Pass | Fixpoint
_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def check_pass_class(item: type[Pass]) -> None:
    """PipelineError when a pass class has no usable name."""
    if not _KEBAB.fullmatch(item.name):
        raise PipelineError(f"pass class {item.__name__} needs a kebab-case name, not {item.name!r}")


@attrs.frozen(slots=True)
class PassManager:
    """Runs steps in order over a module, with instruments around each run."""

    steps: tuple[Step, ...]
    instruments: tuple[Instrument, ...] = ()

    def run(self, ctx: Context) -> None:
        """Run every step.

        Raises:
            PassFailed: a pass raised something that is not meant for the user; the cause is chained.
            TfGraphOptError: a pass refused the graph.
        """
        ctx.steps = self.steps
        with ExitStack() as stack:
            for instrument in self.instruments:
                instrument.enter(ctx)
                stack.callback(instrument.exit, ctx)
            for index, step in enumerate(self.steps):
                ctx.progress(str(step), index, len(self.steps))
                self._run(step, ctx, self.steps[index:])

    def catch_up(self, graphs: Sequence[Graph], ctx: Context) -> None:
        """Run the steps on ``graphs`` alone; steps for other dialects, and those for the whole module, are passed over."""
        for index, step in enumerate(self.steps):
            self._run(step, ctx, self.steps[index:], graphs)

    def _run(self, step: Step, ctx: Context, rest: Sequence[Step], only: Sequence[Graph] | None = None) -> None:
        if isinstance(step, Fixpoint):
            self._run_fixpoint(step, ctx, rest, only)
        elif step.applies(ctx):
            for graph in _graphs(step, ctx) if only is None else [g for g in only if g.dialect == step.dialect]:
                if all(i.should_run(step, graph, ctx) for i in self.instruments):
                    self._run_once(step, graph, ctx, rest)

    def _run_fixpoint(self, loop: Fixpoint, ctx: Context, rest: Sequence[Step], only: Sequence[Graph] | None) -> None:
        for _ in range(loop.max):
            version = ctx.module.version
            for step in loop.steps:
                self._run(step, ctx, rest, only)
            if ctx.module.version == version:
                return
        raise PipelineError(
            f"{loop} still changes the graph after {loop.max} rounds", hint="two passes may undo each other"
        )

    def _run_once(self, step: Pass, graph: Graph, ctx: Context, rest: Sequence[Step]) -> None:
        for instrument in self.instruments:
            instrument.before(step, graph, ctx)
        try:
            step.run(graph, ctx)
            for instrument in self.instruments:
                instrument.after(step, graph, ctx)
        except Exception as error:
            for instrument in self.instruments:
                instrument.failed(step, graph, ctx, error, rest)
            if isinstance(error, TfGraphOptError):
                error.add_note(f"while running pass {step} on graph {graph.name!r}")
                raise
            raise PassFailed(step.name, f"pass {step} failed on graph {graph.name!r}", why=repr(error)) from error


def _graphs(step: Pass, ctx: Context) -> list[Graph]:
    return [ctx.module.main] if step.dialect is None else list(ctx.module.graphs(step.dialect))


PassTable = Mapping[str, type[Pass]]
