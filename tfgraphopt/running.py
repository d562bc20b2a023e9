"""Models in TensorFlow sessions as their callers run them: Grappler on, whatever device there is, many calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef, tf_op_table
from tfgraphopt.testing.compare import RunFailed

Array = npt.NDArray[Any]


def load_unknown_ops(graph_def: GraphDef) -> None:
    """Register the plugins' engine ops when the graph has ops that TensorFlow does not know yet."""
    known = tf_op_table()
    functions = {f.signature.name for f in graph_def.library.function}
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    if any(n.op not in known and n.op not in functions for n in nodes):
        import tfgraphopt.runtime  # noqa: F401


@attrs.frozen(slots=True)
class Runner:
    """A frozen graph in a session; call it with arrays by input name, any number of times, from any thread; close it.

    Raises (by every call):
        RunFailed: TensorFlow refuses the graph or an op fails.
        ConfigError: an input has no array, or an array no input.
    """

    session: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, graph_def: GraphDef, outputs: Sequence[str], *, threads: int = 0) -> Runner:
        """Load ``graph_def`` to fetch ``outputs``; ``threads`` limits TensorFlow's own (0: as many as it likes)."""
        import tensorflow as tf

        load_unknown_ops(graph_def)
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, allow_soft_placement=True
        )
        config.gpu_options.allow_growth = True
        graph = tf.Graph()
        try:
            with graph.as_default():
                tf.graph_util.import_graph_def(graph_def, name="")
            for name in outputs:
                graph.get_tensor_by_name(tensor_name(name))
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise RunFailed("TensorFlow does not load the graph", why=str(error)) from error
        inputs = tuple(n.name for n in graph_def.node if n.op == "Placeholder")
        return cls(tf.compat.v1.Session(graph=graph, config=config), inputs, tuple(outputs))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for ``feeds``, by name."""
        return dict(zip(self.outputs, self.prepared(feeds)(), strict=True))

    def prepared(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """A function that runs the graph on ``feeds`` with as little around it as TensorFlow allows."""
        import tensorflow as tf

        names = [n for n in self.inputs if n in feeds]
        self._check(feeds)
        call = self.session.make_callable(
            [tensor_name(n) for n in self.outputs], feed_list=[tensor_name(n) for n in names]
        )
        arrays = [feeds[n] for n in names]

        def run() -> list[Array]:
            try:
                return list(call(*arrays))
            except (ValueError, tf.errors.OpError) as error:
                raise RunFailed("TensorFlow does not run the graph", why=str(error)) from error

        return run

    def _check(self, feeds: Mapping[str, Array]) -> None:
        unknown = sorted(set(feeds) - set(self.inputs))
        missing = sorted(set(self.inputs) - set(feeds))
        if unknown or missing:
            found = [f"there is no input {n!r}" for n in unknown] + [f"input {n!r} has no array" for n in missing]
            hint = f"the inputs are {', '.join(self.inputs) or 'none'}"
            raise ConfigError("the data does not fit the model", why="; ".join(found), hint=hint)

    def close(self) -> None:
        """Give the session's memory back."""
        self.session.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tensor_name(name: str) -> str:
    """``name`` with its output index."""
    return name if ":" in name else f"{name}:0"


def engine_nodes(graph_def: GraphDef) -> list[str]:
    """The names of the nodes that plugins' engines (or their TensorFlow bodies) compute."""
    return [n.name for n in graph_def.node if "segment_func" in n.attr]


def engine_lines(graph_def: GraphDef, before: Mapping[str, Any] | None = None) -> list[str]:
    """Of every engine node of ``graph_def``, how often its engine ran and how often TensorFlow ran its body, and why.

    Args:
        before: counters to subtract (what :func:`tfgraphopt.runtime.counters` gave before).
    """
    names = engine_nodes(graph_def)
    if not names:
        return []
    from tfgraphopt.runtime import counters

    now = counters()
    return [_engine_line(name, now.get(name), (before or {}).get(name)) for name in names]


def _engine_line(name: str, now: Any, before: Any) -> str:
    if now is None:
        return f"{name}: did not run"
    ran = now.engine_runs - getattr(before, "engine_runs", 0)
    fell = now.fallback_runs - getattr(before, "fallback_runs", 0)
    if not fell:
        return f"{name}: its engine ran {ran} times"
    earlier = getattr(before, "fallbacks", {})
    reasons = {r: c - earlier.get(r, 0) for r, c in now.fallbacks.items()}
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.items() if count)
    ran_text = f"its engine ran {ran} times, " if ran else "its engine NEVER ran: "
    return f"{name}: {ran_text}TensorFlow ran its body {fell} times ({why})"


def batch_size(feeds: Mapping[str, Array]) -> int:
    """The common leading dimension of the arrays, or 1 when they have none in common."""
    sizes = {np.shape(a)[0] for a in feeds.values() if np.ndim(a)}
    return int(sizes.pop()) if len(sizes) == 1 else 1
