"""These tests need OpenVINO; the runtime is loaded once, and each test starts with clean counters."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("openvino") else ["test_*.py"]


@pytest.fixture(autouse=True)
def clean_counters() -> None:
    """Load the runtime, and forget what earlier tests counted."""
    import tfgraphopt.runtime

    tfgraphopt.runtime.reset_counters()
