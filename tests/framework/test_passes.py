from __future__ import annotations

from typing import Any

import attrs
import pytest

from framework.sample_passes import (
    Crash,
    Drop,
    NotWanted,
    Restless,
    Visit,
    VisitLowered,
    VisitOnce,
    context,
    run,
    with_functions,
)  # fmt: skip
from tfgraphopt.errors import PassFailed, PipelineError, TfGraphOptError
from tfgraphopt.passes import Context, Fixpoint, Pass, PassManager, Quiet, check_pass_class


def test_every_graph_of_the_dialect_is_visited_main_first() -> None:
    ctx = run([Visit()], context(with_functions()))
    assert ctx.facts["visited"] == ["main", "f", "g"]


def test_other_dialects_and_main_alone() -> None:
    ctx = run([VisitLowered(), VisitOnce()], context(with_functions()))
    assert ctx.facts["visited"] == ["f", "main"]


def test_a_pass_may_decline() -> None:
    assert run([NotWanted()], context()).facts == {}


def test_fixpoints_stop_when_nothing_changes() -> None:
    ctx = run([Fixpoint((Visit(), Drop(op="Neg")))], context())
    assert ctx.facts["visited"] == ["main"] * 2
    assert ctx.module.main.find("dead") is None


def test_fixpoints_that_do_not_converge_say_so() -> None:
    with pytest.raises(PipelineError, match=r"fixpoint\(restless\)\{max=3\} still changes the graph after 3 rounds"):
        run([Fixpoint((Restless(),), max=3)], context())


def test_failures_name_the_pass_and_keep_the_cause() -> None:
    with pytest.raises(PassFailed, match=r"pass crash\{message=why\} failed on graph 'main'") as caught:
        run([Crash("why")], context())
    assert caught.value.pass_name == "crash"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_refusals_meant_for_the_user_pass_through_with_a_note() -> None:
    @attrs.frozen(slots=True)
    class Refuse(Pass):
        name = "refuse"

        def run(self, graph: Any, ctx: Context) -> None:
            raise TfGraphOptError("not this graph")

    with pytest.raises(TfGraphOptError, match="not this graph") as caught:
        run([Refuse()], context())
    assert caught.value.__notes__ == ["while running pass refuse on graph 'main'"]


class _Spy(Quiet):
    def __init__(self, log: list[str], who: str, skip: str = "") -> None:
        self.log, self.who, self.skip = log, who, skip

    def enter(self, ctx: Context) -> None:
        self.log.append(f"{self.who} enter")

    def exit(self, ctx: Context) -> None:
        self.log.append(f"{self.who} exit")

    def should_run(self, step: Pass, graph: Any, ctx: Context) -> bool:
        return step.name != self.skip

    def before(self, step: Pass, graph: Any, ctx: Context) -> None:
        self.log.append(f"{self.who} before {step.name}")

    def after(self, step: Pass, graph: Any, ctx: Context) -> None:
        self.log.append(f"{self.who} after {step.name}")

    def failed(self, step: Pass, graph: Any, ctx: Context, error: BaseException, rest: Any) -> None:
        self.log.append(f"{self.who} failed {step.name} rest {','.join(map(str, rest))}")


def test_instruments_nest_and_can_skip() -> None:
    log: list[str] = []
    run([Visit(), Drop()], context(), _Spy(log, "a"), _Spy(log, "b", skip="visit"))
    assert log == [
        "a enter", "b enter", "a before drop", "b before drop", "a after drop", "b after drop", "b exit", "a exit",
    ]  # fmt: skip


def test_instruments_hear_of_failures_and_of_the_rest() -> None:
    log: list[str] = []
    with pytest.raises(PassFailed):
        run([Visit(), Fixpoint((Crash(),)), Drop()], context(), _Spy(log, "a"))
    assert log[-2:] == ["a failed crash rest fixpoint(crash),drop", "a exit"]


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    ctx = context()
    ctx.progress = lambda what, done, total: told.append((what, done, total))
    PassManager((Visit(), Drop("Relu"))).run(ctx)
    assert told == [("visit", 0, 2), ("drop{op=Relu}", 1, 2)]


@pytest.mark.parametrize("name", ["", "CamelCase", "snake_case", "a,b", "-a"])
def test_pass_names_are_kebab_case(name: str) -> None:
    wrong = type("Wrong", (Pass,), {"name": name})
    with pytest.raises(PipelineError, match="kebab-case"):
        check_pass_class(wrong)


def test_options_are_those_that_differ() -> None:
    assert Drop().options == {}
    assert Drop("Relu").options == {"op": "Relu"}
    assert str(Drop("Relu")) == "drop{op=Relu}"


def test_a_pass_without_run_says_so() -> None:
    with pytest.raises(PassFailed, match="has no run method"):
        run([type("Empty", (Pass,), {"name": "empty"})()], context())
