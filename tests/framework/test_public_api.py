"""The public names are frozen: who adds or removes one writes it down (``python -m framework.public_api``) and says so."""

from __future__ import annotations

import difflib
import importlib
import inspect

import pytest

from framework.public_api import FROZEN, MODULES, listing, public_names


def test_public_names_are_those_written_down() -> None:
    diff = "\n".join(
        difflib.unified_diff(FROZEN.read_text().splitlines(), listing().splitlines(), "frozen", "now", lineterm="", n=0)
    )
    assert not diff, f"{diff}\nwrite it down by: PYTHONPATH=tests python -m framework.public_api"


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist_and_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip()
    for public in public_names(module):
        item = getattr(module, public)
        if inspect.isclass(item) or inspect.isfunction(item):
            assert (item.__doc__ or "").strip(), f"{name}.{public} has no docstring"
