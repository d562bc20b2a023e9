"""Writes the reference pages that are made from the code: hooks, passes and pipelines, supported ops."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from generated_api import api_page
from generated_cli import cli_page

from tfgraphopt import plugins
from tfgraphopt.plugins import Tables

RECORDS = Path(__file__).with_name("conversions.json")
"""What the tests of the converters tried, written by them."""


def write_pages(folder: Path) -> None:
    """Write api.md, cli.md, hooks.md, passes.md and ops.md into ``folder``."""
    tables = plugins.load(strict=True)
    folder.mkdir(exist_ok=True)
    for name, make in (("hooks", hooks_page), ("passes", passes_page), ("ops", ops_page)):
        (folder / f"{name}.md").write_text("\n".join(make(tables)) + "\n")
    (folder / "api.md").write_text("\n".join(api_page()) + "\n")
    (folder / "cli.md").write_text("\n".join(cli_page()) + "\n")


def hooks_page(tables: Tables) -> Iterable[str]:
    """Every hook with its exact signature and its documentation, by the module that specifies it."""
    yield from (
        "# Hooks",
        "",
        "Implement a hook with `@tfgraphopt.hookimpl`; a hook of a plugin that may be absent, with",
    )
    yield from ("`@tfgraphopt.hookimpl(optionalhook=True)`.", "")
    for module in spec_modules():
        yield from (f"## {module.__name__}", "", markdown(module.__doc__), "")
        for name, function in hooks_of(module).items():
            yield from (
                f"### {name}",
                "",
                "```python",
                signature(name, function),
                "```",
                "",
                markdown(function.__doc__),
                "",
            )


def spec_modules() -> list[ModuleType]:
    """The modules of hook specifications: module ``hookspecs`` of the framework and of the packages of installed plugins."""
    packages = {point.value.partition(".")[0] for point in entry_points(group="tfgraphopt")}
    names = (f"{package}.hookspecs" for package in sorted(packages))
    return [importlib.import_module(name) for name in names if find_spec(name)]


def hooks_of(module: ModuleType) -> dict[str, Any]:
    """The hook specifications in a module, by name."""
    own = {n: f for n, f in vars(module).items() if n.startswith("tfgraphopt_") and inspect.isfunction(f)}
    return dict(sorted((n, f) for n, f in own.items() if f.__module__ == module.__name__))


def signature(name: str, function: Any) -> str:
    """The line that a plugin author starts an implementation with."""
    text = str(inspect.signature(function)).replace("'", "")
    return f"def {name}{text}"


def markdown(docstring: str | None) -> str:
    """A docstring without what only reStructuredText knows: roles and double backquotes."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(docstring or "")).replace("``", "`")


def passes_page(tables: Tables) -> Iterable[str]:
    """Every pass with its options, order and the default pipeline."""
    from tfgraphopt.cli.passes import describe
    from tfgraphopt.config import Config
    from tfgraphopt.optimization import pipeline_of

    yield from (
        "# Passes",
        "",
        "The default pipeline:",
        "",
        "```text",
        *str(pipeline_of(Config(), tables)).split(","),
        "```",
        "",
    )
    for item in tables.items("tfgraphopt_passes"):
        row = describe(item)
        yield from (f"## {row['name']}", "", markdown(item.__doc__), "")
        if row["options"]:
            yield from (
                "| option | default |",
                "| --- | --- |",
                *(f"| `{k}` | `{v}` |" for k, v in row["options"].items()),
                "",
            )
        for word in ("after", "before", "needs", "provides", "drops"):
            if row[word]:
                yield from (f"*{word}*: {', '.join(row[word])}", "")


def ops_page(tables: Tables) -> Iterable[str]:
    """Every TensorFlow op that a shipped converter converts: element types, limits with their reasons, cases tested."""
    from tfgraphopt.graphdef import tf_op_table

    converters: dict[str, Any] = dict(tables.table("tfgraphopt_trt_converters"))
    records: dict[str, Any] = json.loads(RECORDS.read_text())
    never = {op: c for op, c in sorted(converters.items()) if c.refusal}
    yield from (
        "# Supported ops",
        "",
        f"{sum(tf_op_table().get(op) is not None for op in converters) - len(never)} op types are converted; "
        f"{len(never)} never are, and say why. A node can be refused all the",
        "same, always with its reason in the report (`tfgraphopt explain`). Element types are those that the tests have tried: each",
        "case compares the layers' meaning with TensorFlow's own result, and its network is built by the real builder (`built`).",
        "TensorRT for RTX has no kernels of NonZero and NMS: networks with one of those (`emitted`) are made, and TensorRT's own",
        "inference of shapes and types compared with ours, but not built. Limits are the refusals that tests assert, word for word.",
        "The numbers come from",
        "`TFGRAPHOPT_BUILD=all TFGRAPHOPT_LEDGER=docs/conversions.json python -m pytest tests/converters`: "
        f"{_total(records, 'cases')} cases, {_total(records, 'built')} of them built and {_total(records, 'emitted')} emitted.",
        "Every run of the tests builds about a fifth of them.",
        "",
        "| op | element types | constants it needs | notes | limits | cases | built | emitted |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    )
    for op, converter in sorted(converters.items()):
        if not converter.refusal and tf_op_table().get(op) is not None:
            yield _op_row(op, converter, records.get(op, {}))
    yield from ("", "## Composites", "", "What TensorRT has one layer for and frameworks write as many ops.", "")
    yield from ("| op | notes |", "| --- | --- |")
    for op, converter in sorted(converters.items()):
        if tf_op_table().get(op) is None:
            yield f"| {op} | {_note(converter)} |"
    yield from ("", "## Never converted", "", "| ops | reason |", "| --- | --- |")
    reasons = dict.fromkeys(c.refusal for c in never.values())
    for reason in reasons:
        yield f"| {', '.join(op for op, c in never.items() if c.refusal == reason)} | {_cell(reason)} |"


def _total(records: dict[str, Any], what: str) -> int:
    return sum(record[what] for record in records.values())


def _op_row(op: str, converter: Any, record: dict[str, Any]) -> str:
    constants = ", ".join(p.name for p in converter.parameters if p.constant and not p.operand)
    limits = "<br>".join(_cell(r) for r in record.get("refusals", ()))
    counts = (str(record.get("cases") or "elsewhere"), str(record.get("built", 0)), str(record.get("emitted", 0)))
    dtypes = ", ".join(record.get("dtypes", ()))
    return f"| {op} | {dtypes} | {constants} | {_note(converter)} | {limits} | {' | '.join(counts)} |"


def _note(converter: Any) -> str:
    return _cell(" ".join(markdown(converter.doc).split("\n\n")[0].split()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
