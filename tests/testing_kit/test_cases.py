"""Text cases, and the machinery that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfgraphopt.errors import ParseError
from tfgraphopt.testing.cases import Case, assert_ir, case_tests, check_case, op_counts, read_module

CASES = Path(__file__).with_name("cases")

test_case = case_tests(CASES)


def test_there_are_cases() -> None:
    assert list(CASES.glob("*.ir"))


def test_updating_writes_the_result_and_then_passes(tmp_path: Path) -> None:
    case = Case.parse((CASES / "cancel_transposes.ir").read_text())
    path = tmp_path / "case.ir"
    path.write_text(f"pipeline: {case.pipeline}\n--- before\n{case.before}\n")
    with pytest.raises(AssertionError, match=r"\+  %r = Relu\(%x\)"):
        check_case(path)
    check_case(path, update=True)
    check_case(path)
    assert Case.parse(path.read_text()) == case


def test_something_else_is_refused() -> None:
    with pytest.raises(ParseError, match="pipeline"):
        Case.parse("graph @main() -> () {}", "mine.ir")


def test_ir_assertions_show_a_diff() -> None:
    module = read_module('graph @main(%x: f32[2]) -> (%r as "r:0") {\n  %r = Relu(%x) : f32[2]\n}')
    assert op_counts(module) == {"Relu": 1}
    with pytest.raises(AssertionError, match=r"-  %r = Neg\(%x\) : f32\[2\]\n\+  %r = Relu"):
        assert_ir(module, 'graph @main(%x: f32[2]) -> (%r as "r:0") {\n  %r = Neg(%x) : f32[2]\n}')
