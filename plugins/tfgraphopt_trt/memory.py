"""Resident memory of a process, read from /proc (Linux); 0 where that does not exist."""

from __future__ import annotations

import contextlib
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Resident memory of process ``pid`` now; 0 when it is gone."""
    return _status(f"/proc/{pid}/status", "VmRSS")


def peak_resident_bytes() -> int:
    """Highest resident memory of this process since it started, or since :func:`reset_peak`."""
    return _status("/proc/self/status", "VmHWM")


def reset_peak() -> None:
    """Let :func:`peak_resident_bytes` start anew; does nothing where the kernel does not allow it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(path: str, field: str) -> int:
    try:
        lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    found = [line for line in lines if line.startswith(field + ":")]
    return int(found[0].split()[1]) * 1024 if found else 0
