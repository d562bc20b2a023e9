"""An original and its optimised form on the same data: how far outputs are off, and what each engine adds by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.running import (
    AnyRunner,
    Runner,
    SignatureRunner,
    batch_size,
    engine_lines,
    engine_nodes,
    fitting,
)  # fmt: skip
from tfgraphopt.sessions import State
from tfgraphopt.verification import Errors, ErrorSums

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


@attrs.frozen(slots=True, kw_only=True)
class Limits:
    """What still counts as equal; None does not matter. Numbers that are not finite where they should be never do.

    Attributes:
        tolerance: largest absolute error relative to the largest magnitude of an output.
        max_abs: largest absolute error.
        min_cosine: least cosine of the angle between both.
        min_snr: least signal-to-noise ratio in decibels.
    """

    tolerance: float | None = None
    max_abs: float | None = None
    min_cosine: float | None = None
    min_snr: float | None = None

    def broken(self, errors: Errors) -> list[str]:
        """Which limits an output breaks, in words."""
        if errors.bad:
            return [f"{errors.bad} elements are not finite, or not equal, where they should be"]
        found = []
        for name, limit, value in (
            ("max rel", self.tolerance, errors.max_rel),
            ("max abs", self.max_abs, errors.max_abs),
        ):
            if limit is not None and not value <= limit:
                found.append(f"{name} {value:.3g} is above {limit:g}")
        for name, limit, value in (("cosine", self.min_cosine, errors.cosine), ("SNR", self.min_snr, errors.snr_db)):
            if limit is not None and not value >= limit:
                found.append(f"{name} {value:.6g} is below {limit:g}")
        return found


@attrs.frozen(slots=True)
class Comparison:
    """What was found.

    Attributes:
        outputs: errors of every output, by its name in the original, over all data.
        segments: per engine node the errors of its results, by the node that computed them in the original, against TensorFlow
            on the very operands that the engine got; empty unless asked for.
        batches, samples: how much data there was.
        engines: which engines ran, and why others did not.
    """

    outputs: Mapping[str, Errors]
    segments: Mapping[str, Mapping[str, Errors]]
    batches: int
    samples: int
    engines: tuple[str, ...] = ()

    def broken(self, limits: Limits) -> dict[str, list[str]]:
        """The limits that outputs break, by output."""
        found = {name: limits.broken(errors) for name, errors in self.outputs.items()}
        return {name: reasons for name, reasons in found.items() if reasons}

    def to_json(self) -> dict[str, Any]:
        """A tree of plain Python values; numbers that JSON does not have are texts."""
        return attrs.asdict(self, value_serializer=_plain)


def _plain(instance: object, field: object, value: Any) -> Any:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


@attrs.frozen(slots=True)
class Model:
    """A frozen graph; or what a runner runs, of which it is a picture.

    Attributes:
        outputs: what its caller fetches.
        runner: runs a signature.
        state: what the graph needs of its model.
        names: structured names of ``outputs``, by which those of two models belong together.
    """

    graph_def: GraphDef
    outputs: Sequence[str]
    runner: SignatureRunner | None = None
    state: State | None = None
    names: Sequence[str] = ()

    def names_of(self, runner: AnyRunner) -> Sequence[str]:
        """What the outputs are called that ``runner`` computes."""
        return runner.outputs if runner is self.runner else (self.names or self.outputs)


def compare(
    original: Model, optimised: Model, data: Iterable[Mapping[str, Array]], *, segments: bool = False,
    progress: Progress = _silent,
) -> Comparison:  # fmt: skip
    """Run both on every batch of ``data`` (arrays by input name) in TensorFlow.

    Args:
        original, optimised: outputs belong together by name, or else in order; so do inputs.
        segments: also look at every engine by itself.
        progress: called with (what, done, total).

    Raises:
        ConfigError: the data does not fit, there is none, or the models' outputs differ in number, type or shape.
        RunFailed: TensorFlow does not run one of the models.
    """
    watched = _Watched.of(optimised.graph_def) if segments else _Watched(optimised.graph_def, {})
    with ExitStack() as stack:
        first: AnyRunner = original.runner or Runner.of(original.graph_def, original.outputs, state=original.state)
        stack.callback(first.close)
        second = _second(optimised, watched, segments)
        stack.callback(second.close)
        outputs = second.outputs[: len(second.outputs) - len(watched.tensors)]
        fetches = _paired(original.names_of(first), optimised.names_of(second), outputs)
        before = _counters(optimised.graph_def)
        sums = _Sums.of(first.outputs, watched)
        count = samples = 0
        for count, feeds in enumerate(data, 1):
            progress("comparing", count - 1, count)
            made = second(fitting(feeds, second.inputs, first.inputs))
            sums.add(first(feeds), [made[name] for name in (*fetches, *watched.tensors)])
            samples += batch_size(feeds)
        if not count:
            raise ConfigError("there is no data to compare on")
        lines = tuple(engine_lines(optimised.graph_def, before))
    return Comparison(*sums.errors(), count, samples, lines)


def _second(optimised: Model, watched: _Watched, segments: bool) -> AnyRunner:
    """What runs the optimised model; engines by themselves can be watched in a graph only."""
    if optimised.runner is not None and not segments:
        return optimised.runner
    return Runner.of(watched.graph_def, [*optimised.outputs, *watched.tensors], state=optimised.state)


def _paired(original: Sequence[str], optimised: Sequence[str], outputs: Sequence[str]) -> Sequence[str]:
    """The ``outputs`` of the optimised model in the order of the original's: by name, or else by place."""
    if len(original) != len(optimised):
        counts = f"the original has {len(original)}, the optimised model {len(optimised)}"
        raise ConfigError("the models have different numbers of outputs", why=counts, hint="name them by --outputs")
    found = dict(zip(optimised, outputs, strict=True))
    return [found[name] for name in original] if set(original) == set(optimised) else outputs


def _counters(graph_def: GraphDef) -> Mapping[str, Any]:
    if not engine_nodes(graph_def):
        return {}
    from tfgraphopt.runtime import counters

    return counters()


@attrs.frozen(slots=True)
class _Sums:
    """Running sums for outputs and for the results of engines."""

    outputs: Mapping[str, ErrorSums]
    segments: Mapping[str, Mapping[str, ErrorSums]]

    @classmethod
    def of(cls, outputs: Sequence[str], watched: _Watched) -> _Sums:
        segments = {node: {name: ErrorSums() for name in names} for node, names in watched.results.items()}
        return cls({name: ErrorSums() for name in outputs}, segments)

    def add(self, expected: Mapping[str, Array], made: Sequence[Array]) -> None:
        for (name, wanted), got in zip(expected.items(), made, strict=False):
            _check_same_kind(name, np.asarray(got), np.asarray(wanted))
            self.outputs[name].add(got, wanted)
        rest = iter(made[len(expected) :])
        for results in self.segments.values():
            for each in results.values():
                each.add(next(rest), next(rest))

    def errors(self) -> tuple[dict[str, Errors], dict[str, dict[str, Errors]]]:
        outputs = {name: each.errors for name, each in self.outputs.items()}
        return outputs, {
            node: {n: each.errors for n, each in results.items()} for node, results in self.segments.items()
        }


def _check_same_kind(name: str, made: Array, expected: Array) -> None:
    if made.dtype != expected.dtype or made.shape != expected.shape:
        kinds = f"{expected.dtype}{list(expected.shape)} and {made.dtype}{list(made.shape)}"
        raise ConfigError(f"output {name!r} differs in type or shape", why=f"it is {kinds} in the optimised model")


@attrs.frozen(slots=True)
class _Watched:
    """A graph in which the TensorFlow body of every engine node runs beside it, on the same operands."""

    graph_def: GraphDef
    results: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, graph_def: GraphDef) -> _Watched:
        watched = GraphDef()
        watched.CopyFrom(graph_def)
        bodies = {f.signature.name: f for f in graph_def.library.function}
        results = {}
        for node in graph_def.node:
            if "segment_func" in node.attr and node.attr["segment_func"].func.name in bodies:
                _add_body(watched, node)
                results[node.name] = _result_names(bodies[node.attr["segment_func"].func.name])
        return cls(watched, results)

    @property
    def tensors(self) -> list[str]:
        """What to fetch: of every result of every engine, what it made and what TensorFlow makes."""
        return [
            tensor
            for node, names in self.results.items()
            for i in range(len(names))
            for tensor in (f"{node}:{i}", f"{_twin(node)}/{i}:0")
        ]


def _twin(node: str) -> str:
    return f"{node}/in_tensorflow"


def _add_body(graph_def: GraphDef, engine: Any) -> None:
    call = graph_def.node.add(name=_twin(engine.name), op="PartitionedCall")
    call.input.extend(i for i in engine.input if not i.startswith("^"))
    call.attr["f"].CopyFrom(engine.attr["segment_func"])
    call.attr["Tin"].CopyFrom(engine.attr["InT"])
    call.attr["Tout"].CopyFrom(engine.attr["OutT"])
    for index, kind in enumerate(engine.attr["OutT"].list.type):  # a call may be inlined, an Identity can be fetched
        result = graph_def.node.add(name=f"{call.name}/{index}", op="Identity", input=[f"{call.name}:{index}"])
        result.attr["T"].type = kind


def _result_names(body: Any) -> list[str]:
    """The nodes of the original that compute the results of a body, in their order."""
    sources = [body.ret[argument.name] for argument in body.signature.output_arg]
    names = [source.partition(":")[0] for source in sources]
    return [name if names.count(name) == 1 else source for name, source in zip(names, sources, strict=True)]
