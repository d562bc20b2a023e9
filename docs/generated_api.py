"""Writes the reference page of the public names from their docstrings; which names are public is what the tests freeze."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

PUBLIC = Path(__file__).parents[1] / "tests" / "framework" / "public_api.txt"
_SECTION = re.compile(r"^(Args|Attributes|Class attributes|Raises|Returns):$")


def api_page() -> Iterator[str]:
    """Every public class and function, module by module."""
    yield from ("# Public names", "", "What users and authors of plugins import; everything else may change.", "")
    for module, names in public().items():
        loaded = importlib.import_module(module)
        yield from (f"## {module}", "", *prose(loaded), "")
        for name in names:
            item = getattr(loaded, name)
            if inspect.isclass(item) or inspect.isfunction(item):
                yield from entry(name, item)


def public() -> dict[str, list[str]]:
    """The frozen names by module."""
    found: dict[str, list[str]] = {}
    for line in PUBLIC.read_text().splitlines():
        module, _, name = line.partition(": ")
        found.setdefault(module, []).append(name)
    return found


def entry(name: str, item: Any) -> Iterator[str]:
    """One class with its public methods, or one function."""
    yield from (f"### {name}", "", "```text", _called(name, item), "```", "", *prose(item), "")
    if inspect.isclass(item):
        for method, member in vars(item).items():
            function = inspect.unwrap(member.__func__ if isinstance(member, classmethod | staticmethod) else member)
            if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
                yield from ("```text", _called(f"{name}.{method}", function), "```", "", *prose(function), "")


def _called(name: str, item: Any) -> str:
    try:
        signature = str(inspect.signature(item))
    except (TypeError, ValueError):
        return name
    return name + re.sub(r" at 0x[0-9a-f]+", "", signature.replace("'", ""))


def prose(item: Any) -> Iterable[str]:
    """A docstring as Markdown: arguments and errors as lists, roles and double backquotes as code."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.getdoc(item) or "").replace("``", "`")
    listing = code = False
    for line in text.splitlines():
        section = _SECTION.match(line)
        if line.startswith("    ") and not listing:
            yield from (() if code else ("```text",))
            code = True
            yield line[4:]
            continue
        if code and line:
            yield "```"
            code = False
        listing = bool(section) or (listing and (line.startswith("    ") or not line))
        if section:
            yield from (f"**{section[1]}**", "")
        elif listing and re.match(r"^    \S", line):
            yield f"- {line[4:]}"
        else:
            yield line.strip() if listing else line
    if code:
        yield "```"
