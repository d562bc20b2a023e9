"""Running modules in TensorFlow, and comparing results NaN by NaN and infinity by infinity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfgraphopt.errors import TfGraphOptError
from tfgraphopt.graphdef import GraphDef, export_graph_def
from tfgraphopt.ir import Module
from tfgraphopt.sessions import State, open_session

Array = NDArray[Any]


class RunFailed(TfGraphOptError):
    """TensorFlow could not load or run a graph; ``why`` is its message."""


def run(
    model: Module | GraphDef, feeds: Mapping[str, Any], fetches: Sequence[str] | None = None, state: State | None = None
) -> dict[str, Array]:  # fmt: skip
    """What TensorFlow computes, by fetch name, on the CPU with Grappler and all graph optimisations off.

    Args:
        model: a module is exported first.
        feeds: by node or tensor name; names that the graph does not have are ignored.
        fetches: tensor names; by default a module's outputs.
        state: what the graph needs of the model that it is part of.

    Raises:
        RunFailed: TensorFlow refuses the graph or an op fails.
    """
    import tensorflow as tf

    graph_def = export_graph_def(model) if isinstance(model, Module) else model
    names = list(fetches if fetches is not None else _outputs(model))
    present = {node.name for node in graph_def.node}
    fed = {_tensor(name): array for name, array in feeds.items() if name.partition(":")[0] in present}
    try:
        with open_session(graph_def, state, plain_session_config()) as session:
            values = session.run([_tensor(n) for n in names], fed)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise RunFailed("TensorFlow does not run the graph", why=str(error)) from error
    return dict(zip(names, values, strict=True))


def plain_session_config() -> Any:
    """A session configuration that runs what is written: no Grappler, no constant folding, CPU only, one thread."""
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto(
        device_count={"GPU": 0}, intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    return config


def _outputs(model: Module | GraphDef) -> Sequence[str]:
    if isinstance(model, Module):
        return model.main.output_names
    raise TypeError("a GraphDef has no outputs of its own; name the fetches")


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def difference(one: Any, two: Any, rtol: float = 0.0, atol: float = 0.0) -> str:
    """Why two arrays differ, or nothing.

    Element types and shapes must be equal, NaN and infinities in the same places. With both tolerances 0 even the signs of zeros
    count.
    """
    a, b = np.asarray(one), np.asarray(two)
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"{a.dtype}{list(a.shape)} is not {b.dtype}{list(b.shape)}"
    if a.dtype.kind not in "fcV":
        return "" if np.array_equal(a, b) else f"{int(np.sum(a != b))} of {a.size} elements differ"
    wide_a, wide_b = (x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in (a, b))
    return _float_difference(wide_a, wide_b, rtol, atol)


def _float_difference(a: Array, b: Array, rtol: float, atol: float) -> str:
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return f"NaN in {int(np.isnan(a).sum())} places, then in {int(np.isnan(b).sum())}"
    known = ~np.isnan(a)
    infinite = np.isinf(a) | np.isinf(b)
    if not np.array_equal(a[infinite & known], b[infinite & known]):
        return "infinities in different places"
    x, y = a[known & ~infinite], b[known & ~infinite]
    if rtol == atol == 0 and a.dtype.kind == "f":
        wrong = (x != y) | (np.signbit(x) != np.signbit(y))
    else:
        wrong = np.abs(x - y) > atol + rtol * np.abs(x)
    if not wrong.any():
        return ""
    worst = int(np.argmax(np.where(wrong, np.abs(x - y), -1)))
    return f"{int(wrong.sum())} of {a.size} elements differ, most {x.reshape(-1)[worst]!r} and {y.reshape(-1)[worst]!r}"


def assert_same(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    what: str = "the results",
) -> None:
    """AssertionError unless both have the same names, element types, shapes and numbers."""
    assert list(before) == list(after), f"{what}: {list(before)} is not {list(after)}"
    found = {name: difference(before[name], after[name], rtol, atol) for name in before}
    wrong = {name: text for name, text in found.items() if text}
    assert not wrong, f"{what} differ: {wrong}"
