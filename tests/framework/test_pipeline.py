from __future__ import annotations

import contextlib
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfgraphopt.errors import ParseError, PipelineError
from tfgraphopt.passes import Fixpoint, Pass
from tfgraphopt.pipeline import Pipeline, check_order, format_value, solve


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"limit must be a positive integer, not {value!r}")
    return value


@attrs.frozen(slots=True)
class Alpha(Pass):
    name: ClassVar[str] = "alpha"
    limit: int = attrs.field(default=1, converter=_positive)
    deep_value: Any = None


@attrs.frozen(slots=True)
class Beta(Pass):
    name: ClassVar[str] = "beta-two"


PASSES = {p.name: p for p in (Alpha, Beta)}
plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=6),
    st.sampled_from(["1", "-1", "1e5", "nan", "inf", ".5", "true", "none", "a/b:c", "x y", '"', "1_0"]),
)  # fmt: skip
values = st.recursive(plain, lambda c: st.lists(c, max_size=3).map(tuple), max_leaves=5)
steps: Any = st.deferred(
    lambda: st.one_of(
        st.builds(Alpha, limit=st.integers(1, 99), deep_value=values),
        st.just(Beta()),
        st.builds(Fixpoint, st.lists(steps, min_size=1, max_size=3).map(tuple), st.integers(1, 20)),
    )
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=4))
def test_text_is_a_fixed_point_and_means_the_same(found: list[Any]) -> None:
    pipeline = Pipeline(found)
    again = Pipeline.parse(str(pipeline), PASSES)
    assert again == pipeline
    assert str(again) == str(pipeline)


@settings(max_examples=200, deadline=None)
@given(values)
def test_option_values_keep_their_types(value: Any) -> None:
    (step,) = Pipeline.parse(f"alpha{{deep-value={format_value(value)}}}", PASSES)
    got = step.deep_value  # type: ignore[union-attr]
    assert repr(got) == repr(value)


@given(st.text('alph,{}()[]=" 1-x', max_size=20))
def test_any_text_parses_or_fails_clearly(text: str) -> None:
    with contextlib.suppress(ParseError, PipelineError):
        Pipeline.parse(text, PASSES)


def test_whitespace_and_emptiness() -> None:
    assert (
        str(Pipeline.parse(" alpha { limit = 2 } ,\n fixpoint( beta-two ) ", PASSES))
        == "alpha{limit=2},fixpoint(beta-two)"
    )
    assert Pipeline.parse("  ", PASSES).steps == ()


@pytest.mark.parametrize(
    ("text", "column", "why"),
    [
        ("alpha,,beta-two", 7, "a name is expected"),
        ("alpha{limit}", 12, "'=' is expected"),
        ("alpha{limit=2", 14, "ends too early"),
        ("fixpoint(alpha", 15, "ends too early"),
        ("alpha(beta-two)", 1, "only fixpoint"),
        ("alpha beta-two", 7, "unexpected 'beta-two'"),
        ('alpha{deep-value="x', 18, "is expected"),
        ("alpha]", 6, "unexpected"),
    ],
)
def test_errors_show_where(text: str, column: int, why: str) -> None:
    with pytest.raises(ParseError) as caught:
        Pipeline.parse(text, PASSES)
    assert caught.value.where == (f"column {column}",)
    assert why in caught.value.why
    assert caught.value.why.splitlines()[-1].index("^") - 4 == column - 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alhpa", "no pass 'alhpa'\n.*did you mean alpha"),
        ("zzz", "there are: alpha, beta-two"),
        ("alpha{size=2}", r"no option 'size'\n.*deep_value"),
        ("alpha{limit=0}", "limit must be a positive integer, not 0"),
        ("alpha{limit=two}", "not 'two'"),
        ("fixpoint(alpha){rounds=2}", "no option 'rounds'"),
    ],
)
def test_unknown_passes_and_wrong_options_are_refused(text: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        Pipeline.parse(text, PASSES)


def test_edits_give_new_pipelines() -> None:
    pipeline = Pipeline.parse("alpha,fixpoint(beta-two,alpha)", PASSES)
    extra = Alpha(limit=7)
    assert str(pipeline.before("beta-two", extra)) == "alpha,alpha{limit=7},fixpoint(beta-two,alpha)"
    assert str(pipeline.after("alpha", extra)) == "alpha,fixpoint(beta-two,alpha),alpha{limit=7}"
    assert (
        str(pipeline.replace("alpha", extra, Beta()))
        == "alpha{limit=7},beta-two,fixpoint(beta-two,alpha{limit=7},beta-two)"
    )
    assert str(pipeline.drop("alpha")) == "fixpoint(beta-two)"
    assert str(pipeline.drop("alpha").drop("beta-two")) == ""
    assert str(pipeline) == "alpha,fixpoint(beta-two,alpha)"
    assert pipeline.names == ("alpha", "beta-two", "alpha")
    with pytest.raises(PipelineError, match="no pass 'gamma' in the pipeline"):
        pipeline.drop("gamma")


# -- orders --------------------------------------------------------------------------------------------------------------


def _pass(name: str, **facts: Any) -> Pass:
    return type(name.title(), (Pass,), {"name": name, "__slots__": (), **facts})()


def test_orders_are_solved_by_wishes_and_facts_ties_by_name() -> None:
    found = solve(
        [
            _pass("d"), _pass("c", after=("d", "absent")), _pass("b", needs={"types"}), _pass("a", before=("b",)),
            _pass("z", provides={"types"}),
        ]
    )  # fmt: skip
    assert found.names == ("a", "d", "c", "z", "b")
    assert found.validate() is found


@settings(max_examples=200, deadline=None)
@given(st.permutations("abcdefg"), st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))), st.randoms())
def test_solved_orders_satisfy_every_wish_and_do_not_depend_on_the_input_order(
    names: list[str], wishes: set[tuple[int, int]], rng: Any
) -> None:
    after: dict[str, list[str]] = {n: [] for n in names}
    for i, j in wishes:
        if i < j:
            after[names[j]].append(names[i])
    found = [_pass(n, after=tuple(sorted(after[n]))) for n in names]
    solved = solve(found)
    check_order(list(solved))  # type: ignore[arg-type]
    rng.shuffle(found)
    assert solve(found).names == solved.names


def test_contradictory_wishes_name_the_passes_of_the_cycle() -> None:
    with pytest.raises(PipelineError, match="contradict") as caught:
        solve([_pass("a", after=("b",)), _pass("b", after=("c",)), _pass("c", after=("a",)), _pass("d", after=("a",))])
    assert sorted(caught.value.where) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ([_pass("a", after=("b",)), _pass("b")], "'a' must come after 'b'"),
        ([_pass("b"), _pass("a", before=("b",))], "'a' must come before 'b'"),
        (
            [_pass("a", needs={"types"}), _pass("b", provides={"types"})],
            "'a' needs 'types', which no pass before it provides",
        ),
        (
            [_pass("b", provides={"types"}), _pass("c", drops={"types"}), _pass("a", needs={"types"})],
            "'a' needs 'types', which 'c' drops before it",
        ),
    ],
)
def test_wrong_orders_name_the_two_passes(passes: list[Pass], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        Pipeline(passes).validate()


def test_a_pass_may_stand_several_times() -> None:
    a, b = _pass("a", after=("b",)), _pass("b")
    Pipeline([b, a, b]).validate()
    Pipeline([b, a, b, a]).validate()
    with pytest.raises(PipelineError, match="'a' must come after 'b'"):
        Pipeline([a, b, a]).validate()
