"""Benchmarks: contestants take turns, so that what disturbs one disturbs all; percentiles, and ratios with their uncertainty."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Progress = Callable[[str, int, int], None]
WALL = "wall"
"""The clock that every contestant has: seconds from the call to the results in host memory."""


def _silent(what: str, done: int, total: int) -> None:
    """No progress shown."""


def _nothing() -> None:
    """Nothing to release."""


def _no_remarks() -> Sequence[str]:
    return ()


@attrs.frozen(slots=True)
class Contestant:
    """Something to time.

    Attributes:
        name: what tables call it.
        run: does the work once and returns when it is done; it may return further durations of that run, in seconds, by the name
            of their clock (``{"gpu": 0.0012}`` from CUDA events, say). The wall clock is read around it.
        items: how many samples one run computes (its batch size); throughput is counted in them.
        remarks: lines about what really ran, asked for when all is over.
        close: releases what it holds.
    """

    name: str
    run: Callable[[], Mapping[str, float] | None]
    items: int = 1
    remarks: Callable[[], Sequence[str]] = _no_remarks
    close: Callable[[], None] = _nothing


@attrs.frozen(slots=True)
class EngineRequest:
    """A serialised engine that a plugin is asked to run by itself, without TensorFlow (``tfgraphopt bench --engine PLAN``).

    Attributes:
        plan: the file.
        feeds: arrays for its inputs, by input name; inputs that have none are the plugin's to fill.
        shapes: shapes to use for inputs, by input name, where the engine has dynamic ones.
        seed: of random numbers for inputs without an array.
    """

    plan: Path
    feeds: Mapping[str, Array] = attrs.field(factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)
    seed: int = 0


@attrs.frozen(slots=True, kw_only=True)
class Schedule:
    """How long to warm up and to measure.

    Attributes:
        seconds: to spend on measured runs of all contestants together.
        min_runs, max_runs: measured runs of each contestant, whatever the time.
        warmup_runs: unmeasured runs of each at least; more follow until latency falls no further.
        warmup_seconds: to spend on warming up one contestant at most.
        concurrency: threads that call at the same time when throughput is measured; 1 takes it from the latencies.
    """

    seconds: float = 5.0
    min_runs: int = 20
    max_runs: int = 10_000
    warmup_runs: int = 5
    warmup_seconds: float = 30.0
    concurrency: int = 1


# -- what was measured ---------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Latency:
    """Durations of one clock, in seconds: mean, standard deviation, extremes, percentiles."""

    runs: int
    mean: float
    std: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Array) -> Latency:
        """Of the durations of single runs; percentiles interpolate linearly."""
        p50, p90, p95, p99 = (float(p) for p in np.percentile(seconds, [50, 90, 95, 99]))
        return cls(
            len(seconds), float(seconds.mean()), float(seconds.std()), float(seconds.min()), p50, p90, p95, p99,
            float(seconds.max()),
        )  # fmt: skip


@attrs.frozen(slots=True)
class Measured:
    """What was measured of one contestant.

    Attributes:
        name, items: the contestant's.
        samples: per clock, seconds of every measured run, in order; run number n of all contestants belongs to one round.
        first_seconds: the very first run, which compiles, loads and allocates; not among the samples.
        warmup_runs: further runs before measuring.
        steady: whether latency had stopped falling when measuring began.
        throughput: samples (items) per second.
        concurrency: threads that called at the same time for ``throughput``.
        remarks: what really ran.
    """

    name: str
    items: int
    samples: Mapping[str, Array]
    first_seconds: float
    warmup_runs: int
    steady: bool
    throughput: float
    concurrency: int
    remarks: tuple[str, ...] = ()

    @property
    def latency(self) -> dict[str, Latency]:
        """Statistics by clock; :data:`WALL` is always there."""
        return {clock: Latency.of(seconds) for clock, seconds in self.samples.items()}

    def to_json(self) -> dict[str, Any]:
        """Plain Python values; every sample is in it, in seconds."""
        tree = attrs.asdict(self, filter=attrs.filters.exclude("samples"))
        latency = {clock: attrs.asdict(each) for clock, each in self.latency.items()}
        return {**tree, "latency": latency, "samples": {c: [float(s) for s in v] for c, v in self.samples.items()}}


@attrs.frozen(slots=True)
class Speedup:
    """How much faster one contestant is than another.

    Attributes:
        of, over: their names.
        ratio: median time of ``over`` divided by that of ``of``: 2 is twice as fast.
        low, high: 95 % of the ratios that the same measurement would give lie between (bootstrap over rounds).
    """

    of: str
    over: str
    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        said = f"{self.ratio:.2f}x ({self.low:.2f} to {self.high:.2f}, 95 %)"
        if self.low <= 1.0 <= self.high:
            return f"{self.of} and {self.over}: no difference that this measurement can tell, {said}"
        return f"{self.of} is {'faster' if self.ratio > 1 else 'SLOWER'} than {self.over}: {said}"


def speedup(made: Measured, base: Measured, clock: str = WALL, resamples: int = 2000) -> Speedup:
    """The ratio of the medians of ``base`` and ``made``, with a bootstrap interval that resamples whole rounds.

    Rounds are resampled in blocks of neighbours, since what slows a machine down lasts longer than one run (Künsch 1989).
    """
    pair = np.stack([np.asarray(m.samples[clock])[: _rounds(made, base, clock)] for m in (base, made)])
    count = pair.shape[1]
    block = max(1, round(count ** (1 / 3)))
    starts = np.random.default_rng(0).integers(0, count, size=(resamples, -(-count // block)))
    chosen = ((starts[:, :, None] + np.arange(block)) % count).reshape(resamples, -1)[:, :count]
    ratios = np.median(pair[0][chosen], axis=1) / np.median(pair[1][chosen], axis=1)
    low, high = (float(r) for r in np.percentile(ratios, [2.5, 97.5]))
    ratio = float(np.median(pair[0]) / np.median(pair[1]))
    return Speedup(made.name, base.name, ratio, low, high)


def _rounds(one: Measured, two: Measured, clock: str) -> int:
    return min(len(one.samples[clock]), len(two.samples[clock]))


# -- measuring -----------------------------------------------------------------------------------------------------------


def race(
    contestants: Sequence[Contestant], schedule: Schedule | None = None, progress: Progress = _silent
) -> list[Measured]:
    """Warm every contestant up, then let them run in turns, each once a round; who begins changes from round to round.

    Garbage collection is off while rounds run, as :mod:`timeit` does.
    """
    schedule = schedule or Schedule()
    warm = [_warm_up(c, schedule, progress) for c in contestants]
    samples = _run_rounds(contestants, schedule, progress)
    rates = _throughputs(contestants, samples, schedule, progress)
    return [
        Measured(
            c.name, c.items, {k: np.asarray(v) for k, v in samples[c.name].items()}, *warmth, rate,
            schedule.concurrency, tuple(c.remarks()),
        )
        for c, warmth, rate in zip(contestants, warm, rates, strict=True)
    ]  # fmt: skip


def _timed(contestant: Contestant) -> tuple[float, Mapping[str, float]]:
    started = time.perf_counter()
    clocks = contestant.run()
    return time.perf_counter() - started, clocks or {}


_WINDOW = 5
_FALLING = 0.95
"""Latency still falls while the median of the last runs is below this part of the median of as many runs before."""


def _warm_up(contestant: Contestant, schedule: Schedule, progress: Progress) -> tuple[float, int, bool]:
    """Seconds of the first run, number of further runs, and whether latency had settled."""
    progress(f"warming up {contestant.name}", 0, 1)
    first, _ = _timed(contestant)
    seen: list[float] = []
    started = time.perf_counter()
    while len(seen) < schedule.warmup_runs or not _is_steady(seen):
        if len(seen) >= schedule.warmup_runs and time.perf_counter() - started > schedule.warmup_seconds:
            return first, len(seen), False
        seen.append(_timed(contestant)[0])
    return first, len(seen), True


def _is_steady(seen: Sequence[float]) -> bool:
    if len(seen) < 2 * _WINDOW:
        return False
    before, last = seen[-2 * _WINDOW : -_WINDOW], seen[-_WINDOW:]
    return float(np.median(last)) >= _FALLING * float(np.median(before))


def _run_rounds(
    contestants: Sequence[Contestant], schedule: Schedule, progress: Progress
) -> dict[str, dict[str, list[float]]]:
    samples: dict[str, dict[str, list[float]]] = {c.name: {} for c in contestants}
    started = time.perf_counter()
    with _no_garbage_collection():
        for number in range(schedule.max_runs):
            spent = time.perf_counter() - started
            if number >= schedule.min_runs and spent >= schedule.seconds:
                break
            progress("measuring", int(min(99, 100 * spent / max(schedule.seconds, 1e-9))), 100)
            first = number % len(contestants)
            for contestant in (*contestants[first:], *contestants[:first]):
                wall, clocks = _timed(contestant)
                for clock, seconds in {WALL: wall, **clocks}.items():
                    samples[contestant.name].setdefault(clock, []).append(seconds)
    return samples


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _throughputs(
    contestants: Sequence[Contestant],
    samples: Mapping[str, Mapping[str, Sequence[float]]],
    schedule: Schedule,
    progress: Progress,
) -> list[float]:
    if schedule.concurrency == 1:
        return [c.items / float(np.mean(samples[c.name][WALL])) for c in contestants]
    slices = 4
    share = max(schedule.seconds / len(contestants) / slices, 0.05)
    runs = [[0.0, 0] for _ in contestants]
    for _ in range(slices):
        for contestant, sums in zip(contestants, runs, strict=True):
            progress(f"throughput of {contestant.name}, {schedule.concurrency} threads", 0, 1)
            seconds, count = _run_concurrently(contestant, schedule.concurrency, share)
            sums[0], sums[1] = sums[0] + seconds, sums[1] + count
    return [c.items * count / seconds for c, (seconds, count) in zip(contestants, runs, strict=True)]


def _run_concurrently(contestant: Contestant, threads: int, seconds: float) -> tuple[float, int]:
    """Seconds spent and runs done by ``threads`` callers that start together; what a caller raises is raised here."""
    counts: list[int] = [0] * threads
    errors: list[Exception] = []
    barrier = threading.Barrier(threads + 1)

    def call(index: int) -> None:
        barrier.wait()
        try:
            while counts[index] == 0 or time.perf_counter() < deadline:
                contestant.run()
                counts[index] += 1
        except Exception as error:
            errors.append(error)

    callers = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(threads)]
    for caller in callers:
        caller.start()
    started = time.perf_counter()
    deadline = started + seconds
    barrier.wait()
    for caller in callers:
        caller.join()
    if errors:
        raise errors[0]
    return time.perf_counter() - started, sum(counts)
