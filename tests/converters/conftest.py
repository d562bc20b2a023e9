"""Writes the ledger of a session that asks for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from converters.ledger import LEDGER, VARIABLE


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write what was tried to the file that the environment names, unless something failed."""
    path = os.environ.get(VARIABLE)
    if path and not session.testsfailed:
        LEDGER.write(Path(path))
