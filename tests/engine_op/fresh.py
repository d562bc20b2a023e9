"""Runs a program in a process that has loaded nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys


def in_fresh_process(program: str) -> str:
    """Return what ``program`` prints; it imports what this process can import. Raises AssertionError where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
