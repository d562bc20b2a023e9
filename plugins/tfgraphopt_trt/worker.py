"""``python -m tfgraphopt_trt.worker``: builds what its parent asks for over stdin and stdout; knows no TensorFlow."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path
from typing import IO

from tfgraphopt_trt.build import build_plan
from tfgraphopt_trt.worker_protocol import error_reply, read_request, receive, reply, send

_GRACE_SECONDS = 30.0


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until the parent closes the pipe."""
    send(replies, {"pid": os.getpid(), "tensorflow": "tensorflow" in sys.modules})
    while True:
        try:
            header, body = receive(requests)
        except EOFError:
            return
        send(replies, *_answer(header, body))


def _answer(header: object, body: bytes) -> tuple[object, bytes]:
    try:
        graph, layers, profiles, options = read_request(header, body)
        if options.timeout_seconds is not None:  # the parent keeps the time; this is for a parent that died
            signal.setitimer(signal.ITIMER_REAL, options.timeout_seconds + _GRACE_SECONDS)
        return reply(build_plan(graph, layers, profiles, options))
    except Exception as error:
        return error_reply(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _private_stdout() -> IO[bytes]:
    """The pipe to the parent, out of reach of libraries that print."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _be_expendable() -> None:
    """No core file, and the first to go when memory runs out."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    _be_expendable()
    serve(sys.stdin.buffer, _private_stdout())
