"""Text cases: a file holds a pipeline, a module and what the pipeline makes of it.

::

    pipeline: canonicalize,dce
    --- before
    graph @main(%x: f32[2]) -> (%b as "b:0") {
      %a = Neg(%x) : f32[2]
      %b = Neg(%a) : f32[2]
    }
    --- after
    graph @main(%x: f32[2]) -> (%x as "b:0") {
    }

``test_cases = case_tests(Path(__file__).with_name("cases"))`` makes a test of every ``.ir`` file of a directory; ``pytest
--update-cases`` writes what comes after anew.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from tfgraphopt.errors import ParseError
from tfgraphopt.graphdef import tf_op_table
from tfgraphopt.ir import Graph, Module, OpTable
from tfgraphopt.ir.text import parse_graph, parse_module, print_graph, print_module
from tfgraphopt.ir.verify import verify
from tfgraphopt.passes import Pass
from tfgraphopt.pipeline import Pipeline
from tfgraphopt.plugins import Tables
from tfgraphopt.testing.contracts import default_tables, run_steps

_BEFORE, _AFTER = "--- before\n", "--- after\n"


@attrs.frozen(slots=True)
class Case:
    """One text case."""

    pipeline: str
    before: str
    after: str = ""

    @classmethod
    def parse(cls, text: str, name: str = "the case") -> Case:
        """The case in ``text``; ParseError when a part is missing."""
        head, found, rest = text.partition(_BEFORE)
        pipeline = head.strip().removeprefix("pipeline:").strip()
        if not found or not head.strip().startswith("pipeline:"):
            raise ParseError(
                f"{name} is not a text case", hint="it starts with 'pipeline: ...' and a line '--- before'"
            )
        before, _, after = rest.partition(_AFTER)
        return cls(pipeline, before.strip(), after.strip())

    def __str__(self) -> str:
        return f"pipeline: {self.pipeline}\n{_BEFORE}{self.before}\n{_AFTER}{self.after}\n"

    def run(self, tables: Tables | None = None) -> str:
        """The text of what the pipeline makes of the module before; both are verified."""
        known = tables or default_tables()
        module = read_module(self.before, op_table(known))
        verify(module)
        run_steps(module, tuple(Pipeline.parse(self.pipeline, pass_table(known))), known)
        verify(module)
        return write_module(module)


def op_table(tables: Tables) -> OpTable:
    """TensorFlow's op definitions with those of plugins over them."""
    return tf_op_table().with_defs(tables.items("tfgraphopt_op_defs"))


def pass_table(tables: Tables) -> dict[str, type[Pass]]:
    """The passes of plugins by name."""
    return dict(tables.table("tfgraphopt_passes"))


def read_module(text: str, ops: OpTable | None = None) -> Module:
    """The module in a text that may be a graph alone."""
    table = ops or tf_op_table()
    if text.lstrip().startswith("module"):
        return parse_module(text, table)
    graph = parse_graph(text, table)
    return Module(graph, table)


def write_module(module: Module) -> str:
    """The text of a module; of a lone graph without the line on the module."""
    if module.functions or module.lowered or module.opaque_functions:
        return print_module(module)
    return print_graph(module.main)


def check_case(path: Path, update: bool = False, tables: Tables | None = None) -> None:
    """AssertionError with a diff when the result of the case in ``path`` is not what it says; with ``update``, write it there."""
    case = Case.parse(path.read_text(), path.name)
    result = case.run(tables)
    if update:
        path.write_text(str(attrs.evolve(case, after=result)))
    else:
        assert_ir(result, case.after, f"{path.name} (run pytest --update-cases to accept)")


def assert_ir(found: Graph | Module | str, expected: str, what: str = "the IR") -> None:
    """AssertionError with a diff unless ``found`` prints as ``expected``, but for blank space at the ends."""
    text = found if isinstance(found, str) else write_module(found) if isinstance(found, Module) else print_graph(found)
    before, after = (t.strip().splitlines() for t in (expected, text))
    diff = "\n".join(difflib.unified_diff(before, after, "expected", "found", lineterm=""))
    assert not diff, f"{what}:\n{diff}"


def op_counts(model: Graph | Module) -> Counter[str]:
    """How often each op occurs."""
    graphs = model.graphs() if isinstance(model, Module) else [model]
    return Counter(node.op for graph in graphs for node in graph)


def case_tests(directory: Path, tables: Callable[[], Tables] = default_tables) -> Callable[..., Any]:
    """A parametrised test of every ``.ir`` file in ``directory``; ``tables`` loads the plugins that they need."""

    @pytest.mark.parametrize("path", sorted(directory.glob("*.ir")), ids=lambda path: path.stem)
    def test(path: Path, request: pytest.FixtureRequest) -> None:
        update = bool(request.config.getoption("--update-cases", default=False))
        check_case(path, update, tables())

    return test
