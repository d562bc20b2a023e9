"""GPU time side by side: plain TensorFlow, hand-written XLA (jit_compile=True) of the same frozen graph, and our XLA engines.

``python -m benchmarks.gpu [MODEL ...] [--batches 1 8 ...] [--precisions fp32 fp16] [--json FILE]`` with ``tests`` on the path; needs no
TensorRT. ``--show FILE ...`` prints the table of earlier runs without measuring. One process measures all versions of a row, which take
turns, so that whatever the card does hits all of them; a cell is the median over the turns.

Every version is a ConcreteFunction whose input is a tensor on the GPU and whose output stays there. A turn is a loop of calls with one
wait for the GPU at its end (``ms``: how much time a call adds, which throughput follows from), and calls that are each waited for
(``latency``: from the call in Python to the result on the GPU, launch and wait included). Compilation and warming up are not timed.
Environment settings such as XLA_FLAGS hold for every version alike.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import attrs
import numpy as np
from rich.console import Console
from rich.table import Table

import tfgraphopt as tgo
from benchmarks import bert

BATCHES: Mapping[str, tuple[int, ...]] = {
    "ResNet50": (1, 8, 32, 128, 256), "MobileNetV2": (1, 8, 64), "EfficientNetB0": (1, 8, 64), "BERT-base": (1, 8, 64),
}  # fmt: skip
PLAIN, HAND, MIXED = "TensorFlow", "XLA by hand", "XLA by hand, mixed_float16"
LIMIT_MS = 7.0

Call = Callable[[], Any]


@attrs.frozen
class Measured:
    """One version of one row: milliseconds a call in a loop, with one wait a call, and to the first result; largest relative error."""

    model: str
    batch: int
    version: str
    ms: float
    latency: float
    first: float
    error: float
    spread: float
    card: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write JSON when asked, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(BATCHES), metavar="MODEL", help=f"of {', '.join(BATCHES)}")
    parser.add_argument("--batches", type=int, nargs="+", help="batch sizes in place of the model's own")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a variant of ours besides")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the XLA engine for all of ours"
    )
    parser.add_argument(
        "--fixed", action="store_true", help="optimise for the batch of each row alone, not for a range"
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="ours as Result.function of a function, not a GraphDef in a function of ours",
    )
    parser.add_argument("--mixed", action="store_true", help="also XLA by hand of a Keras model built in mixed_float16")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="length of the loop of one turn")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--show", type=Path, nargs="+", help="print rows written earlier")
    options = parser.parse_args(arguments)
    rows = list(_read(options.show)) if options.show else []
    for name in [] if options.show else options.models:
        for batch in options.batches or BATCHES[name]:
            rows += Row(name, batch, options).measure()
            if options.json:
                options.json.write_text(json.dumps([attrs.asdict(r) for r in rows], indent=1))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table(rows))
    console.print(verdict(rows))
    return 0


def _read(paths: Sequence[Path]) -> Iterator[Measured]:
    for path in paths:
        yield from (Measured(**row) for row in json.loads(path.read_text()))


# -- models ----------------------------------------------------------------------------------------------------------

_FROZEN: dict[tuple[str, str], Any] = {}


def frozen(name: str, policy: str = "float32") -> Any:
    """The frozen model; under a policy such as mixed_float16 with the same parameters."""
    if (name, policy) not in _FROZEN:
        _FROZEN[name, policy] = _freeze(name, policy)
    return _FROZEN[name, policy]


_KERAS: dict[str, Any] = {}


def _freeze(name: str, policy: str) -> Any:
    import keras

    from zoo.frozen import Input, freeze

    model = _keras_model(name)
    if policy != "float32":
        keras.config.set_dtype_policy(policy)
        narrow = _untrained(name)
        keras.config.set_dtype_policy("float32")
        narrow.set_weights(model.get_weights())
        model = narrow
    if name == "BERT-base":
        inputs = (Input("input", "int32", (None, bert.LENGTH)),)
        return freeze(lambda ids: model(ids, training=False), name, inputs=inputs, outputs=("hidden",), feed="tokens")
    from zoo.keras_models import FEED_OF

    return freeze(model, name, outputs=("predictions",), feed=FEED_OF[name])


def _untrained(name: str) -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return bert.encoder() if name == "BERT-base" else getattr(keras.applications, name)(weights=None)


def _keras_model(name: str) -> Any:
    if name not in _KERAS:
        model = _KERAS[name] = _untrained(name)
        if name == "BERT-base":
            bert.randomise(model)
        else:
            from zoo.feeds import FEEDS
            from zoo.keras_models import FEED_OF
            from zoo.randomise import randomise

            randomise(model, FEEDS[FEED_OF[name]]((8, *model.inputs[0].shape[1:]), np.random.default_rng(1)), 0)
    return _KERAS[name]


# -- versions --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Row:
    """One model at one batch size, in all versions."""

    name: str
    batch: int
    options: Any

    def measure(self) -> list[Measured]:
        """Prepare every version (one compilation each), then let them take turns."""
        import tensorflow as tf

        model = frozen(self.name)
        (feed,) = model.feeds(self.batch).values()
        with tf.device(_device(tf)):
            given = tf.identity(tf.constant(feed))
        versions = {name: make() for name, make in self._versions().items()}
        calls: dict[str, Call] = {name: _bound(function, given) for name, function in versions.items()}
        first = {name: _seconds(tf, call) for name, call in calls.items()}
        results = {name: call()[0].numpy().astype(np.float64) for name, call in calls.items()}
        loops, waits = _take_turns(tf, calls, self.options.turns, self.options.seconds)
        card = _card(tf)
        return [
            Measured(
                self.name, self.batch, name, float(np.median(loops[name])), float(np.median(waits[name])), first[name],
                _error(results[name], results[PLAIN]), float(np.ptp(loops[name]) / np.median(loops[name])), card,
            )
            for name in calls
        ]  # fmt: skip

    def _versions(self) -> dict[str, Callable[[], Any]]:
        made: dict[str, Callable[[], Any]] = {
            PLAIN: lambda: _function(frozen(self.name), frozen(self.name).graph_def),
            HAND: lambda: _jitted(frozen(self.name)),
        }
        if self.options.mixed:
            made[MIXED] = lambda: _jitted(frozen(self.name, "mixed_float16"))
        for precision in self.options.precisions:
            for option in ("", *self.options.option):
                made[_ours(precision, option)] = self._optimiser(precision, option)
        return made

    def _optimiser(self, precision: str, option: str) -> Callable[[], Any]:
        """A graph for all batch sizes of a model, at its best for this one; or for this one alone."""

        def optimised() -> Any:
            model = frozen(self.name)
            (node,) = model.inputs
            name = "given" if self.options.whole else node.name
            sizes = sorted(self.options.batches or BATCHES[self.name])
            points = (self.batch,) * 3 if self.options.fixed else (sizes[0], self.batch, sizes[-1])
            shapes = {name: tgo.ShapeRange(*((b, *node.shape[1:]) for b in points))}
            given = dict(o.split("=") for o in (*self.options.set, option) if o)
            config = tgo.Config(
                engine="xla", precision=precision, input_shapes=shapes, strict=True, options={"xla": given}
            )  # fmt: skip
            if self.options.whole:
                return _named(tgo.optimize(_function(model, model.graph_def), config=config).function)
            return _function(model, tgo.optimize_graph_def(model.graph_def, model.outputs, config).graph_def)

        return optimised


def _ours(precision: str, option: str) -> str:
    return f"ours {precision}" + (f", {option}" if option else "")


def _function(model: Any, graph_def: Any) -> Any:
    """A graph as a ConcreteFunction of its input.

    A pruned function of wrap_function has its input on the host; called by a tf.function it takes what is on the GPU.
    """
    import tensorflow as tf

    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    pruned = wrapped.prune([f"{node.name}:0" for node in model.inputs], [f"{name}:0" for name in model.outputs])
    (node,) = model.inputs
    function = tf.function(lambda given: pruned(given), autograph=False)
    return function.get_concrete_function(tf.TensorSpec(node.shape, node.dtype))


def _named(function: Any) -> Any:
    """A loaded function called with its input by name, which TensorFlow takes at once; it first tries what a position could mean."""
    return lambda given: function(given=given)


def _jitted(model: Any) -> Any:
    """What a user writes who knows XLA: the frozen graph under tf.function(jit_compile=True)."""
    import tensorflow as tf

    plain, (node,) = _function(model, model.graph_def), model.inputs
    compiled = tf.function(lambda given: plain(given), jit_compile=True, autograph=False)
    return compiled.get_concrete_function(tf.TensorSpec(node.shape, node.dtype))


# -- time ------------------------------------------------------------------------------------------------------------


def _device(tf: Any) -> str:
    return "/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"


def _card(tf: Any) -> str:
    found = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU")) if found else "CPU"


def _bound(function: Any, given: Any) -> Call:
    return lambda: function(given)


def _wait(tf: Any) -> None:
    tf.test.experimental.sync_devices()


def _seconds(tf: Any, call: Call) -> float:
    started = time.perf_counter()
    call()
    _wait(tf)
    return time.perf_counter() - started


def _take_turns(
    tf: Any, calls: Mapping[str, Call], turns: int, seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds a call of each version, once per turn: in a loop that is waited for once, and waiting for every call."""
    loops: dict[str, list[float]] = {name: [] for name in calls}
    waits: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            count = max(3, int(seconds / max(_seconds(tf, call), 1e-5)))
            loop, wait = _loop(tf, call, count), float(np.median([_seconds(tf, call) for _ in range(min(count, 15))]))
            if turn:  # the first one warms up
                loops[name].append(loop * 1e3)
                waits[name].append(wait * 1e3)
    return loops, waits


def _loop(tf: Any, call: Call, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        call()
    _wait(tf)
    return (time.perf_counter() - started) / count


def _error(made: Any, expected: Any) -> float:
    return float(np.abs(made - expected).max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-30))


# -- tables ----------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Measured]) -> Table:
    """Milliseconds, throughput, and the ratios to plain TensorFlow and to XLA by hand."""
    cards = ", ".join(dict.fromkeys(r.card for r in rows))
    shown = Table(title=f"{cards}: medians")
    for name in (
        "model",
        "batch",
        "version",
        "ms a call",
        "latency ms",
        "items/s",
        "x TensorFlow",
        "x XLA by hand",
        "error",
        "first s",
    ):
        shown.add_column(name, justify="left" if name in ("model", "version") else "right")
    for row in rows:
        plain, hand = (_of(rows, row, version) for version in (PLAIN, HAND))
        shown.add_row(
            row.model, str(row.batch), row.version, f"{row.ms:.3f}", f"{row.latency:.3f}", f"{row.batch / row.ms * 1e3:,.0f}",
            f"{plain.ms / row.ms:.2f}", f"{hand.ms / row.ms:.2f}", f"{row.error:.0e}", f"{row.first:.1f}",
        )  # fmt: skip
    return shown


def _of(rows: Sequence[Measured], row: Measured, version: str) -> Measured:
    return next(r for r in rows if (r.model, r.batch, r.version) == (row.model, row.batch, version))


def verdict(rows: Sequence[Measured]) -> str:
    """The targets of the issue against what was measured."""
    lines = []
    resnet = [r for r in rows if r.model == "ResNet50" and r.latency < LIMIT_MS]
    best = {r.version: max((q for q in resnet if q.version == r.version), key=_rate) for r in resnet}
    ours = max((r for v, r in best.items() if v.startswith("ours")), key=_rate, default=None)
    if ours is not None and PLAIN in best:
        lines.append(
            f"ResNet50 under {LIMIT_MS:g} ms: {ours.version} {_rate(ours):,.0f}/s at batch {ours.batch}, TensorFlow "
            f"{_rate(best[PLAIN]):,.0f}/s at batch {best[PLAIN].batch}: {_rate(ours) / _rate(best[PLAIN]):.2f}x (target 8x)"
        )
    ours_all = [r for r in rows if r.version.startswith("ours")]
    slower = [
        f"{r.model} {r.batch} {r.version} {r.ms / _of(rows, r, HAND).ms:.2f}x"
        for r in ours_all
        if r.ms > 1.03 * _of(rows, r, HAND).ms
    ]
    lines.append(f"slower than XLA by hand by more than 3 %: {', '.join(slower) or 'none'}")
    ones = [f"{r.model} {r.version} {_of(rows, r, PLAIN).latency / r.latency:.2f}x" for r in ours_all if r.batch == 1]
    lines.append(f"latency at batch 1 against TensorFlow (target 2.5x): {', '.join(ones)}")
    return "\n".join(lines)


def _rate(row: Measured) -> float:
    return row.batch / row.ms * 1e3


if __name__ == "__main__":
    sys.exit(main())
