"""Builds engines in a process of their own: a crash, a hang or a lack of memory of the builder costs one engine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import IO, Any

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.ir import Graph
from tfgraphopt_trt.build_options import BuildOptions, BuildResult, NoBuilder
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.memory import resident_bytes
from tfgraphopt_trt.profiles import Profile
from tfgraphopt_trt.worker_protocol import read_reply, receive, request, send

_POLL_SECONDS = 0.05
_START_SECONDS = 120.0
_LOG_BYTES = 4000


class BuilderDied(EngineBuildFailed):
    """The builder process did not survive a build.

    ``reason`` is ``"signal"``, ``"timeout"``, ``"memory"`` or ``"exit"``; ``detail`` the signal's name, the limit or
    the exit status.
    """

    def __init__(self, graph: str, reason: str, detail: str, log: str = "") -> None:
        self.reason = reason
        self.detail = detail
        said = _SAID[reason].format(detail)
        super().__init__(f"the builder process died while it built {graph!r}: {said}", why=log.strip())


_SAID = {
    "signal": "it was ended by {}",
    "timeout": "it took longer than the time limit, {}",
    "memory": "it needed more memory than the limit, {}",
    "exit": "it ended itself with status {}",
}


@attrs.define(slots=True, eq=False)
class _Running:
    """A started worker and where its stderr goes."""

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    hello: Mapping[str, Any] = attrs.field(factory=dict)

    def exchange(self, header: Any, body: bytes) -> tuple[Any, bytes]:
        """Send a request and wait for its reply."""
        assert self.process.stdin is not None
        send(self.process.stdin, header, body)
        return self.greet()

    def greet(self) -> tuple[Any, bytes]:
        """Wait for the next frame; the first one is the worker's greeting."""
        assert self.process.stdout is not None
        return receive(self.process.stdout)

    def log(self) -> str:
        """The end of what the worker wrote to stderr."""
        self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, self.stderr.tell() - _LOG_BYTES))
        return self.stderr.read().decode(errors="replace")

    def end(self) -> int:
        """Kill the worker if it still runs; its exit status."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):  # bytes that nobody will read are still in the buffer
                if pipe is not None:
                    pipe.close()
        return status


class BuilderProcess:
    """A worker process that is started at the first build, kept for the next ones, and replaced when it died.

    One build runs at a time; other threads wait. Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self) -> None:
        self._running: _Running | None = None
        self._lock = threading.Lock()
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The worker's process id, or None when none runs."""
        return self._running.process.pid if self._running is not None else None

    @property
    def hello(self) -> Mapping[str, Any]:
        """What the worker said of itself when it started."""
        return self._running.hello if self._running is not None else {}

    def build(
        self, graph: Graph, layers: Mapping[str, LayerDef], profiles: Sequence[Profile] = (),
        options: BuildOptions | None = None,
    ) -> BuildResult:  # fmt: skip
        """As :func:`tfgraphopt_trt.build.build_plan`, within the time and memory limits of ``options``.

        Raises:
            BuilderDied: the worker crashed or was ended at a limit; the next build starts another one.
            NoBuilder: it cannot even be started.
            ConfigError, EmitError, EngineBuildFailed, MissingDependency: as in this process.
        """
        options = options or BuildOptions()
        header, body = request(graph, layers, profiles, options)
        with self._lock:
            worker = self._worker(graph.name)
            answer = self._within_limits(worker, graph.name, options, worker.exchange, header, body)
        return read_reply(*answer)

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._drop()

    def __enter__(self) -> BuilderProcess:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _worker(self, graph: str) -> _Running:
        if self._running is None or self._running.process.poll() is not None:
            self._drop()
            self._running = _start()
            self.starts += 1
            limits = BuildOptions(timeout_seconds=_START_SECONDS)
            try:
                self._running.hello = self._within_limits(self._running, graph, limits, self._running.greet)[0]
            except BuilderDied as died:
                command = f"{sys.executable} -m tfgraphopt_trt.worker"
                hint = f"see what {command} says"
                raise NoBuilder(
                    "the builder process does not start", why=f"{died.what}: {died.why}", hint=hint
                ) from died
        return self._running

    def _within_limits(
        self, worker: _Running, graph: str, options: BuildOptions, task: Any, *args: Any
    ) -> tuple[Any, bytes]:
        """The result of ``task``, which talks to the worker; the worker is ended at a limit and on any interruption."""
        with ThreadPoolExecutor(1, "tfgraphopt-builder") as pool:
            pending: Future[tuple[Any, bytes]] = pool.submit(task, *args)
            try:
                exceeded = _wait(pending, worker.process.pid, options)
                if exceeded is None:
                    return pending.result()
            except (EOFError, OSError):
                exceeded = None
            except BaseException:
                self._drop()
                raise
            raise self._death(worker, graph, exceeded)

    def _death(self, worker: _Running, graph: str, exceeded: tuple[str, str] | None) -> BuilderDied:
        status = _settle(worker.process) if exceeded is None else worker.end()
        log = worker.log()
        self._drop()
        if exceeded is None:
            exceeded = ("signal", signal.Signals(-status).name) if status < 0 else ("exit", str(status))
        return BuilderDied(graph, *exceeded, log)

    def _drop(self) -> None:
        worker, self._running = self._running, None
        if worker is not None:
            worker.end()
            worker.stderr.close()


def build_in_worker(
    graph: Graph, layers: Mapping[str, LayerDef], profiles: Sequence[Profile] = (), options: BuildOptions | None = None
) -> BuildResult:
    """As :func:`tfgraphopt_trt.build.build_plan` in another process; :class:`BuilderProcess` serves several builds."""
    with BuilderProcess() as worker:
        return worker.build(graph, layers, profiles, options)


def _start() -> _Running:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the worker
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tfgraphopt_trt.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the worker
    )
    return _Running(process, stderr)


def _settle(process: subprocess.Popen[bytes], seconds: float = 5.0) -> int:
    """The exit status of a worker that has closed its pipe."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _wait(pending: Future[Any], pid: int, options: BuildOptions) -> tuple[str, str] | None:
    """Wait for ``pending``; (limit, amount) when a limit is reached first."""
    deadline = None if options.timeout_seconds is None else time.monotonic() + options.timeout_seconds
    limit = options.memory_limit_bytes
    while True:
        try:
            pending.result(_POLL_SECONDS)
            return None
        except NotYet:
            if deadline is not None and time.monotonic() > deadline:
                return "timeout", f"{options.timeout_seconds:g} s"
            if limit is not None and resident_bytes(pid) > limit:
                return "memory", f"{limit / 2**20:.0f} MiB"
