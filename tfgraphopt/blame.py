"""Blame: which pass, or which single rewrite, makes a model compute something else than it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError, TfGraphOptError
from tfgraphopt.graphdef import GraphDef, export_graph_def
from tfgraphopt.instruments import Bisect, Culprit, bisect
from tfgraphopt.optimization import optimize_graph_def
from tfgraphopt.plugins import Tables
from tfgraphopt.running import load_unknown_ops
from tfgraphopt.sessions import State
from tfgraphopt.testing.compare import Array, RunFailed, run
from tfgraphopt.verification import Errors

Judge = Callable[[GraphDef], bool]
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


def blame(
    graph_def: GraphDef,
    outputs: Sequence[str],
    config: Config,
    is_good: Judge,
    *,
    tables: Tables,
    progress: Progress = _silent,
) -> Culprit | None:
    """The first pass or rewrite after which ``is_good`` says no, or None when the whole pipeline is good.

    Every attempt optimises ``graph_def`` anew with a budget of actions and judges the graph as it is then, engine nodes with
    their TensorFlow bodies included. An attempt that raises is bad: the culprit is then the pass that raised.

    Raises:
        ConfigError: an option is wrong.
        TfGraphOptError: the graph is bad although nothing was done to it.
    """
    attempts = 0

    def attempt(instrument: Bisect) -> GraphDef | None:
        nonlocal attempts
        attempts += 1
        progress("bisecting", attempts - 1, attempts)
        try:
            result = optimize_graph_def(graph_def, outputs, config, tables=tables, instruments=[instrument])
        except ConfigError:
            raise  # the caller's to mend, not a pass's fault
        except TfGraphOptError:
            return None
        return export_graph_def(result.module)

    return bisect(attempt, lambda made: made is not None and is_good(made))


@attrs.frozen(slots=True)
class SameNumbers:
    """Judges graphs by what TensorFlow computes with them on the CPU.

    Attributes:
        expected: the outputs of the original graph, by name.
        feeds: an array for every input, by name.
        tolerance: largest error of an output, relative to its largest magnitude.
        state: what the graphs need of their model.
    """

    expected: Mapping[str, Array]
    feeds: Mapping[str, Array]
    tolerance: float
    state: State | None = None

    @classmethod
    def of(
        cls, graph_def: GraphDef, outputs: Sequence[str], feeds: Mapping[str, Array], tolerance: float,
        state: State | None = None,
    ) -> SameNumbers:  # fmt: skip
        """The judge whose measure is ``graph_def`` itself.

        Raises:
            RunFailed: TensorFlow does not run it.
        """
        return cls(run(graph_def, feeds, outputs, state), feeds, tolerance, state)

    def __call__(self, made: GraphDef) -> bool:
        load_unknown_ops(made)
        try:
            found = run(made, self.feeds, list(self.expected), self.state)
        except RunFailed:
            return False
        return all(self._agrees(found[name], wanted) for name, wanted in self.expected.items())

    def _agrees(self, found: Array, wanted: Array) -> bool:
        same_type = found.dtype == wanted.dtype and found.shape == wanted.shape
        return same_type and Errors.between(found, wanted).within(self.tolerance)
