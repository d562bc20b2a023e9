"""How many bytes a call leaves behind, in a process that other tests have left threads and a fragmented heap to."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

PAGE_BYTES = 4096


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def leaked_bytes(call: Callable[[int], object], calls: int, windows: int = 5) -> float:
    """Return the bytes a call adds to the resident memory in the best of several windows of ``calls`` calls.

    ``call`` gets the number of the call. A leak shows in every window; what the rest of the process does, does not.
    """

    def growth() -> int:
        before = _resident_bytes()
        for turn in range(calls):
            call(turn)
        gc.collect()
        return _resident_bytes() - before

    return min(growth() for _ in range(windows)) / calls
