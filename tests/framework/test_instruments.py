from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest

from framework.sample_passes import (
    EVERY,
    OPS,
    Change,
    Corrupt,
    Crash,
    Drop,
    Visit,
    context,
    module,
    run,
    with_functions,
)
from framework.test_plugins import plugin
from tfgraphopt.config import Config, ShapeRange
from tfgraphopt.errors import InvalidGraph, PassFailed, TfGraphOptError
from tfgraphopt.graphdef import export_graph_def, import_graph_def
from tfgraphopt.instruments import (
    Bisect,
    Dump,
    Event,
    Journal,
    OpCountDiff,
    Reproducer,
    Timing,
    Verify,
    bisect,
    load_reproduction,
    replay,
)  # fmt: skip
from tfgraphopt.instruments.reproducer import config_of_json, config_to_json
from tfgraphopt.ir import Graph, Module, Tensor
from tfgraphopt.ir.compare import equal
from tfgraphopt.ir.text import parse_graph, print_module
from tfgraphopt.passes import Context, Fixpoint, Pass
from tfgraphopt.rewrite import Match, Pattern, apply_patterns
from tfgraphopt.transforms.canonicalize import Canonicalize

# -- verify --------------------------------------------------------------------------------------------------------------


def test_verify_stops_at_the_pass_that_broke_the_graph() -> None:
    with pytest.raises(InvalidGraph, match="does not list it as a use") as caught:
        run([Visit(), Corrupt(), Visit()], context(), Verify())
    assert caught.value.__notes__ == ["while running pass corrupt on graph 'main'"]


def test_verify_checks_what_comes_in_and_graphs_that_a_pass_makes() -> None:
    broken = module()
    broken.main.node("r").output._uses.clear()
    with pytest.raises(InvalidGraph):
        run([], context(broken), Verify())

    @attrs.frozen(slots=True)
    class AddBroken(Pass):
        name: ClassVar[str] = "add-broken"

        def run(self, graph: Graph, ctx: Context) -> None:
            ctx.module.add_function(parse_graph("graph @extra(%x: f32[]) -> () { %r = Relu(%x) : f32[] }", OPS))
            ctx.module.functions["extra"].node("r")._attrs.clear()

    with pytest.raises(InvalidGraph, match=r"graph 'extra'.*\n?.*'T' is missing"):
        run([AddBroken()], context(), Verify())


# -- numbers -------------------------------------------------------------------------------------------------------------


def test_timing_writes_into_the_report() -> None:
    ctx = run([Drop(), Visit()], context(with_functions()), Timing())
    assert [(t.step, t.graph) for t in ctx.report.timings] == [
        (s, g) for s in ("drop", "visit") for g in ("main", "f", "g")
    ]
    assert all(t.seconds >= 0 for t in ctx.report.timings)
    (first, *_) = run([Drop()], context(), Timing()).report.timings
    assert (first.nodes_before, first.nodes_after) == (4, 3)


def test_op_counts_are_told_as_differences() -> None:
    counts = OpCountDiff()
    run([Visit(), Drop(), Change("Tanh")], context(), counts)
    assert [str(c) for c in counts.changes] == [
        "drop: Neg -1 (1->0)",
        "change{op=Tanh}: Relu -2 (2->0), Tanh +2 (0->2)",
    ]
    assert str(counts.total) == "all passes: Relu -2 (2->0), Neg -1 (1->0), Tanh +2 (0->2)"
    assert str(counts).count("\n") == 2


# -- dump ----------------------------------------------------------------------------------------------------------------


def test_dumps_show_the_ir_and_what_changed(tmp_path: Path) -> None:
    ctx = run([Drop(), Visit(), Change("Tanh")], context(), Dump(tmp_path / "d"))
    names = sorted(p.name for p in (tmp_path / "d").iterdir())
    assert names == ["000_input.ir", "001_drop.diff", "001_drop.ir", "003_change.diff", "003_change.ir"]
    assert (tmp_path / "d" / "003_change.ir").read_text() == print_module(ctx.module)
    diff = (tmp_path / "d" / "001_drop.diff").read_text()
    assert '-  %dead = Neg(%x) : f32[2] @ "user/dead"' in diff.splitlines()
    assert "Relu" in diff
    assert not [line for line in diff.splitlines() if line.startswith("+ ")]


def test_dumps_keep_what_a_failed_pass_left(tmp_path: Path) -> None:
    with pytest.raises(PassFailed):
        run([Crash()], context(), Dump(tmp_path))
    assert "half_done" in (tmp_path / "001_crash_failed.ir").read_text()


# -- journal -------------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class ReluTwice(Pattern):
    """Two in a row are one."""

    name: ClassVar[str] = "relu-twice"
    host: ClassVar[str] = "canonicalize"

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Relu(op.Relu(x))

    def rewrite(self, op: Any, m: Match) -> Any:
        return op.Relu(m.x)


def test_the_journal_knows_who_did_what() -> None:
    journal = Journal()
    rules = plugin(patterns=lambda: [ReluTwice])
    text = """graph @main(%x: f32[2]) -> (%c) {
      %dead = Neg(%x) : f32[2] @ "user/dead"
      %a = Relu(%x) : f32[2] @ "user/a"
      %b = Relu(%a) : f32[2] @ "user/b"
      %c = Relu(%b) : f32[2] @ "user/c"
    }"""
    ctx = run([Drop(), Canonicalize(), Change("Tanh")], context(module(text), rules=rules), journal)
    assert journal.removed("dead") == Event("removed", "drop", "main", "dead", "Neg", ("user/dead",))
    removed = journal.removed("b")
    assert removed is not None
    assert (removed.step, removed.rule) == ("canonicalize", "relu-twice")
    (tanh,) = [n for n in ctx.module.main if n.op == "Tanh"]
    assert journal.made(tanh.name) == Event("made", "change{op=Tanh}", "main", tanh.name, "Tanh", tanh.origin)
    assert journal.made("a") is None
    assert journal.by("canonicalize", "relu-twice")
    assert journal.by("change")
    assert {e.step for e in journal.of_origin("user/b")} == {"canonicalize", "change{op=Tanh}"}
    assert "removed by canonicalize (rule relu-twice) in graph 'main'" in str(removed)


def test_the_journal_replays_to_the_final_set_of_nodes() -> None:
    """Law: the nodes at the beginning, plus made, minus removed, are the nodes at the end."""
    start = module()
    names = {n.name for n in start.main}
    journal = Journal()
    ctx = run([Fixpoint((Drop(), Drop("Identity"))), Change("Tanh")], context(start), journal)
    for event in journal.events:
        if event.kind == "made":
            names.add(event.node)
        elif event.kind == "removed":
            names.remove(event.node)
    assert names == {n.name for n in ctx.module.main}
    count = len(journal.events)
    ctx.module.main.add("NoOp")
    assert len(journal.events) == count  # it does not listen any more


# -- bisection -----------------------------------------------------------------------------------------------------------


@attrs.frozen(slots=True)
class WrongAdd(Pattern):
    """A broken rule: it turns additions of one certain constant into multiplications."""

    name: ClassVar[str] = "wrong-add"
    host: ClassVar[str] = "canonicalize"

    def pattern(self, op: Any, x: Any, c: Tensor) -> Any:
        return op.AddV2(x, c)

    def rewrite(self, op: Any, m: Match) -> Any:
        return op.Mul(m.x, m.c) if m.c.item() == 7 else op.Add(m.x, m.c)


def _sums() -> Module:
    lines = ["graph @main(%x: f32[2]) -> (%a9) {"]
    for i in range(10):
        lines.append(f"%c{i} = Const {{value = f32[] {i}}}")
        lines.append(f"%a{i} = AddV2({f'%a{i - 1}' if i else '%x'}, %c{i}) : f32[2]")
    return module("\n".join([*lines, "}"]))


def _has_no_mul(found: Module) -> bool:
    return all(n.op != "Mul" for n in found.main)


def test_bisection_finds_the_single_rewrite_that_breaks_a_model() -> None:
    rules = plugin(patterns=lambda: [WrongAdd])

    def attempt(instrument: Bisect) -> Module:
        return run([Visit(), Canonicalize(), Visit()], context(_sums(), rules=rules), instrument).module

    culprit = bisect(attempt, _has_no_mul)
    assert culprit is not None
    assert culprit.action == "rule wrong-add at AddV2 node 'a7' of graph 'main'"
    assert (culprit.index, culprit.total) == (10, 13)
    assert culprit.runs <= 2 + 4
    assert "action 10 of 13" in str(culprit)


@pytest.mark.parametrize("position", range(6))
def test_bisection_finds_the_pass_wherever_it_stands(position: int) -> None:
    steps: list[Any] = [Visit() for _ in range(6)]
    steps[position] = Change("Tanh")
    culprit = bisect(lambda b: run(steps, context(), b).module, lambda m: all(n.op != "Tanh" for n in m.main))
    assert culprit is not None
    assert culprit.action == "pass change{op=Tanh} on graph 'main'"
    assert culprit.index == position + 1


def test_bisection_of_a_good_and_of_a_hopeless_model() -> None:
    assert bisect(lambda b: run([Visit()], context(), b), lambda r: True) is None
    with pytest.raises(TfGraphOptError, match="before any pass has run"):
        bisect(lambda b: run([Visit()], context(), b), lambda r: False)


def test_smaller_budgets_do_a_prefix() -> None:
    rules = plugin(patterns=lambda: [WrongAdd])
    whole = Bisect()
    run([Visit(), Canonicalize(), Drop("Const")], context(_sums(), rules=rules), whole)
    for budget in range(len(whole.actions) + 1):
        part = Bisect(budget)
        run([Visit(), Canonicalize(), Drop("Const")], context(_sums(), rules=rules), part)
        assert part.actions == whole.actions[:budget]


def test_rules_without_a_budget_are_not_limited() -> None:
    graph = _sums().main
    assert len(apply_patterns(graph, [WrongAdd()]).applied) == 10


# -- reproducer ----------------------------------------------------------------------------------------------------------

PASSES = plugin(passes=lambda: list(EVERY.values()))


def _large(extra: str = "") -> Module:
    found = module("graph @main(%x: f32[2]) -> (%r) { %r = Relu(%x) : f32[2] }")
    graph = found.main
    rng = np.random.default_rng(0)
    for array in (rng.standard_normal(100), np.arange(100, dtype=np.int8), np.array([b"a\0" * 200, b"\xff"], object)):
        node = graph.add("Const", [], {"value": Tensor.of(array)})
        graph.set_keep({**graph.keep, node.name: node})
    return found


def test_a_failure_leaves_what_is_needed_to_see_it_again(tmp_path: Path) -> None:
    where = tmp_path / "failure"
    config = Config(precision="fp16", input_shapes={"x": ShapeRange((1,), (2,), (3,))}, denied_ops={"Relu"})
    ctx = context(_large(), config, samples=PASSES)
    with pytest.raises(PassFailed, match="pass crash") as caught:
        run([Visit(), Fixpoint((Crash("bang"), Drop("Neg"))), Visit()], ctx, Reproducer(where))
    assert caught.value.__cause__ is not None
    assert f"python -m tfgraphopt reproduce {where}" in caught.value.__cause__.__notes__[0]
    facts = json.loads((where / "reproducer.json").read_text())
    assert facts["pipeline"] == "fixpoint(crash{message=bang},drop),visit"
    assert facts["pass"] == "crash{message=bang}"
    assert "ZeroDivisionError: bang" in facts["error"]
    assert facts["plugins"][0]["name"] == "samples"
    assert facts["versions"]["tensorflow"]

    found = load_reproduction(where, ctx.tables)
    assert equal(found.context.module, _large())  # the state before the pass, not what it left
    assert found.context.config == config
    with pytest.raises(PassFailed, match="pass crash") as again:
        replay(where, ctx.tables)
    assert str(again.value) == str(caught.value)


def test_a_fixed_pass_makes_the_replay_go_through(tmp_path: Path) -> None:
    @attrs.frozen(slots=True)
    class Fixed(Pass):
        name: ClassVar[str] = "crash"
        message: str = "oops"

        def run(self, graph: Graph, ctx: Context) -> None:
            graph.add("NoOp", name="whole")

    with pytest.raises(PassFailed):
        run([Crash(), Drop()], context(), Reproducer(tmp_path))
    others = [p for p in EVERY.values() if p is not Crash]
    tables = context(None, None, samples=plugin(passes=lambda: [*others, Fixed])).tables
    found = replay(tmp_path, tables)
    assert found.main.find("whole") is not None
    assert found.main.find("dead") is None


def test_opaque_functions_are_kept(tmp_path: Path) -> None:
    proto = export_graph_def(Module(parse_graph("graph @main() -> () { %n = NoOp }", OPS), OPS))
    poly = proto.library.function.add()
    poly.signature.name = "poly"
    poly.signature.input_arg.add(name="x", type_attr="T")
    poly.signature.attr.add(name="T", type="type")
    with pytest.raises(PassFailed):
        run([Crash()], context(import_graph_def(proto), samples=PASSES), Reproducer(tmp_path))
    found = load_reproduction(tmp_path, context(None, None, samples=PASSES).tables)
    assert found.context.module.opaque_functions == {"poly": poly}


def test_nothing_is_written_when_nothing_fails(tmp_path: Path) -> None:
    run([Visit()], context(), Reproducer(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TfGraphOptError, match="is not a reproducer"):
        replay(tmp_path)
    (tmp_path / "reproducer.json").write_text('{"format": 99}')
    with pytest.raises(TfGraphOptError, match="format 99"):
        replay(tmp_path)


def test_configurations_survive_as_json() -> None:
    config = Config(
        engine_dir=Path("/tmp/x"), denied_nodes=["a*"], input_shapes={"x": [ShapeRange((1,), (2,), (3,))] * 2}
    )
    assert config_of_json(json.loads(json.dumps(config_to_json(config)))) == config
    assert config_of_json(config_to_json(None)).__dict__ == {}
