"""Options and fixtures for pytest; switch on with ``pytest_plugins = ["tfgraphopt.testing.pytest_plugin"]`` in a conftest.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tfgraphopt.ir import Module
from tfgraphopt.passes import Context
from tfgraphopt.pipeline import Pipeline
from tfgraphopt.plugins import Tables, load


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-cases``."""
    group = parser.getgroup("tfgraphopt")
    group.addoption("--update-cases", action="store_true", help="write the results of .ir text cases into their files")


@pytest.fixture(scope="session")
def plugin_tables() -> Tables:
    """What all installed plugins contribute; a broken one is an error."""
    return load(strict=True)


@pytest.fixture
def run_pipeline(plugin_tables: Tables) -> Callable[[Module, str], Context]:
    """``run_pipeline(module, "canonicalize,dce")`` runs a pipeline of any installed plugin's passes on a module."""
    from tfgraphopt.testing.cases import pass_table
    from tfgraphopt.testing.contracts import run_steps

    def run(module: Module, text: str) -> Context:
        return run_steps(module, tuple(Pipeline.parse(text, pass_table(plugin_tables))), plugin_tables)

    return run
