"""Models in TensorFlow sessions as their callers run them: Grappler on, whatever device there is, many calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef, tf_op_table
from tfgraphopt.sessions import State, is_bound, open_session
from tfgraphopt.testing.compare import RunFailed

Array = npt.NDArray[Any]


def load_unknown_ops(graph_def: GraphDef) -> None:
    """Register the plugins' engine ops when the graph has ops that TensorFlow does not know yet."""
    functions = {f.signature.name for f in graph_def.library.function}
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    register_unknown(n.op for n in nodes if n.op not in functions)


def register_unknown(ops: Iterable[str]) -> None:
    """Register the plugins' engine ops when TensorFlow does not know all of ``ops`` yet.

    Raises:
        NativeBuildError: they cannot be compiled.
    """
    known = tf_op_table()
    if any(op not in known for op in ops):
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
    def of(cls, graph_def: GraphDef, outputs: Sequence[str], *, threads: int = 0, state: State | None = None) -> Runner:
        """Load ``graph_def`` to fetch ``outputs``; ``threads`` limits TensorFlow's own (0: as many as it likes).

        ``state`` is what it needs of its model.
        """
        import tensorflow as tf

        load_unknown_ops(graph_def)
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads, allow_soft_placement=True
        )
        config.gpu_options.allow_growth = True
        try:
            session = open_session(graph_def, state, config)
        except (ValueError, tf.errors.OpError) as error:
            raise RunFailed("TensorFlow does not load the graph", why=str(error)) from error
        try:
            for name in outputs:
                session.graph.get_tensor_by_name(tensor_name(name))
        except (ValueError, KeyError) as error:
            session.close()
            raise RunFailed("TensorFlow does not load the graph", why=str(error)) from error
        inputs = (n.name for n in graph_def.node if n.op == "Placeholder" and not is_bound(n.name, state))
        return cls(session, tuple(inputs), tuple(outputs))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for ``feeds``, by name."""
        return dict(zip(self.outputs, self.prepared(feeds)(), strict=True))

    def prepared(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """A function that runs the graph on ``feeds`` with as little around it as TensorFlow allows."""
        import tensorflow as tf

        names = [n for n in self.inputs if n in feeds]
        _check_feeds(feeds, self.inputs)
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

    def close(self) -> None:
        """Give the session's memory back."""
        self.session.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@attrs.frozen(slots=True)
class SignatureRunner:
    """One signature of a SavedModel, as whoever loads it calls it: its tables and variables are there.

    Names of inputs and outputs are the structured ones. Calls raise what those of :class:`Runner` raise.
    """

    loaded: Any
    function: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, signature: str, tags: Sequence[str] = ("serve",)) -> SignatureRunner | None:
        """Load it; None when the directory is no SavedModel with that signature.

        Raises:
            RunFailed: TensorFlow does not load the SavedModel.
        """
        import tensorflow as tf

        if not (path / "saved_model.pb").exists():
            return None
        try:
            loaded = tf.saved_model.load(str(path), tags=list(tags))
        except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
            raise RunFailed(f"TensorFlow does not load {path}", why=str(error)) from error
        function = loaded.signatures.get(signature) if hasattr(loaded, "signatures") else None
        if function is None:
            return None
        names = tuple(function.structured_input_signature[1])
        return cls(loaded, function, names, tuple(function.structured_outputs))

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs for ``feeds``, by name."""
        return dict(zip(self.outputs, self.prepared(feeds)(), strict=True))

    def prepared(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """A function that calls the signature on ``feeds`` and brings its results to host memory."""
        import tensorflow as tf

        _check_feeds(feeds, self.inputs)

        def run() -> list[Array]:
            try:
                made = self.function(**{name: tf.convert_to_tensor(array) for name, array in feeds.items()})
                return [made[name].numpy() for name in self.outputs]
            except (ValueError, TypeError, tf.errors.OpError) as error:
                raise RunFailed("TensorFlow does not run the model", why=str(error)) from error

        return run

    def close(self) -> None:
        """Nothing: the model goes with this object."""

    def __enter__(self) -> SignatureRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


AnyRunner = Runner | SignatureRunner


def fitting(feeds: Mapping[str, Array], inputs: Sequence[str], original: Sequence[str]) -> Mapping[str, Array]:
    """``feeds`` by the names of ``inputs``: as they are, or in the order in which ``original`` names the same inputs."""
    if set(feeds) == set(inputs) or set(feeds) != set(original) or len(original) != len(inputs):
        return feeds
    return dict(zip(inputs, (feeds[name] for name in original), strict=True))


def _check_feeds(feeds: Mapping[str, Array], inputs: Sequence[str]) -> None:
    unknown = sorted(set(feeds) - set(inputs))
    missing = sorted(set(inputs) - set(feeds))
    if unknown or missing:
        found = [f"there is no input {n!r}" for n in unknown] + [f"input {n!r} has no array" for n in missing]
        hint = f"the inputs are {', '.join(inputs) or 'none'}"
        raise ConfigError("the data does not fit the model", why="; ".join(found), hint=hint)


def tensor_name(name: str) -> str:
    """``name`` with its output index."""
    return name if ":" in name else f"{name}:0"


def engine_nodes(graph_def: GraphDef) -> list[str]:
    """The names of the nodes, in functions too, that plugins' engines (or their TensorFlow bodies) compute."""
    nodes = [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]
    return list(dict.fromkeys(n.name for n in nodes if "segment_func" in n.attr))


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
    return [_engine_line(name, _counted(now, name), _counted(before or {}, name)) for name in names]


def _counted(counters: Mapping[str, Any], node: str) -> Counter[str]:
    """Runs by what ran: ``""`` is the engine, others are reasons of TensorFlow. Functions put their callers' names in front."""
    found: Counter[str] = Counter()
    for name, count in counters.items():
        if name == node or name.endswith(f"/{node}"):
            found[""] += count.engine_runs
            found.update(count.fallbacks)
    return found


def _engine_line(name: str, now: Counter[str], before: Counter[str]) -> str:
    counted = now - before
    ran = counted.pop("", 0)
    if not counted:
        return f"{name}: its engine ran {ran} times" if ran else f"{name}: did not run"
    why = ", ".join(f"{reason} {count}" for reason, count in counted.items())
    ran_text = f"its engine ran {ran} times, " if ran else "its engine NEVER ran: "
    return f"{name}: {ran_text}TensorFlow ran its body {counted.total()} times ({why})"


def batch_size(feeds: Mapping[str, Array]) -> int:
    """The common leading dimension of the arrays, or 1 when they have none in common."""
    sizes = {np.shape(a)[0] for a in feeds.values() if np.ndim(a)}
    return int(sizes.pop()) if len(sizes) == 1 else 1
