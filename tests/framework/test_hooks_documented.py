"""Every hook of every shipped plugin: documented, on the generated page with its exact signature, and tested."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from tfgraphopt import plugins
from tfgraphopt.hookspecs import PROJECT, Contributes

ROOT = Path(__file__).parents[2]


@cache
def pages() -> ModuleType:
    """docs/generated.py, which is no package."""
    spec = importlib.util.spec_from_file_location("generated_pages", ROOT / "docs" / "generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))  # as Sphinx's configuration does
        spec.loader.exec_module(module)
    return module


def hooks() -> dict[str, Callable[..., Any]]:
    return {name: f for module in pages().spec_modules() for name, f in pages().hooks_of(module).items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    pages().write_pages(folder)
    return folder


@pytest.fixture(scope="module")
def tests_text() -> str:
    return "\n".join(p.read_text() for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__))


def test_the_pages_know_every_hook_there_is() -> None:
    """What plugins really open is what the page lists."""
    tables = plugins.load(strict=True)
    specified = {n for n, f in hooks().items() if isinstance(getattr(f, "tfgraphopt_contributes", None), Contributes)}
    assert set(tables.by_key) == specified


@pytest.mark.parametrize("name", sorted(hooks()))
def test_a_hook_is_documented(name: str, written: Path) -> None:
    function = hooks()[name]
    assert re.fullmatch(r"[A-Z].*[.]", (inspect.getdoc(function) or "").split("\n\n")[0], re.DOTALL)
    parameters = inspect.signature(function).parameters
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters.values())
    page = (written / "hooks.md").read_text()
    assert f"```python\n{pages().signature(name, function)}\n```\n\n{pages().markdown(function.__doc__)}" in page


@pytest.mark.parametrize("name", sorted(hooks()))
def test_a_hook_is_exercised_by_a_test(name: str, tests_text: str) -> None:
    short = name.removeprefix("tfgraphopt_")
    assert re.search(rf"\b{name}\b|\b{short}=", tests_text), f"no test mentions {name}"


@pytest.mark.parametrize("name", sorted(hooks()))
def test_a_hook_takes_only_what_its_specification_says(name: str) -> None:
    """An implementation with a parameter that the specification does not have is refused, by name."""

    def implementation(no_such_argument: object) -> None:
        """Wrong."""

    made = ModuleType("made")
    setattr(made, name, pluggy.HookimplMarker(PROJECT)(implementation))
    (failure,) = plugins.load(extra=[("wrong", made)]).failures
    assert failure.where == ("wrong",)
    assert "no_such_argument" in str(failure)


def test_the_pages_list_passes_and_ops(written: Path) -> None:
    tables = plugins.load(strict=True)
    passes, ops = (written / "passes.md").read_text(), (written / "ops.md").read_text()
    assert all(f"\n## {name}\n" in passes for name in tables.table("tfgraphopt_passes"))
    listed = set(re.findall(r"\w+", ops))
    assert set(tables.table("tfgraphopt_trt_converters")) <= listed


def test_the_page_of_the_command_line_lists_every_option(written: Path) -> None:
    from tfgraphopt.cli.parser import build_parsers
    from tfgraphopt.cli.settings import options_of

    page = (written / "cli.md").read_text()
    for name, parser in build_parsers().commands.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for key, action in options_of(parser).items():
            assert f"`{action.option_strings[-1] if action.option_strings else key}`" in section, f"{name} {key}"
