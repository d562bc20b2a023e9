"""The choice of a profile: it fits, none that fits is tighter, and what does not fit is said with numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgraphopt_trt.fitting import explain_misfit, misfit, tightest
from tfgraphopt_trt.profiles import InputRange, Profile, ValueRange

DIMS = st.tuples(st.integers(0, 6), st.integers(0, 6))


@st.composite
def ranges(draw: st.DrawFn) -> InputRange:
    points = [sorted(draw(st.tuples(*[st.integers(0, 6)] * 3))) for _ in range(2)]
    low, opt, high = zip(*points, strict=True)
    return InputRange(low, opt, high)


@st.composite
def profile_lists(draw: st.DrawFn) -> list[Profile]:
    return [{0: draw(ranges()), 1: draw(ranges())} for _ in range(draw(st.integers(1, 5)))]


def inside(profile: Profile, shapes: list[tuple[int, ...]]) -> bool:
    return all(
        low <= d <= high for i, r in profile.items() for low, d, high in zip(r.min, shapes[i], r.max, strict=True)
    )


def volume(profile: Profile) -> int:
    return math.prod(b - a + 1 for r in profile.values() for a, b in zip(r.min, r.max, strict=True))


@given(profile_lists(), DIMS, DIMS)
def test_the_chosen_profile_fits_and_is_the_tightest(
    profiles: list[Profile], a: tuple[int, int], b: tuple[int, int]
) -> None:
    chosen = tightest(profiles, [a, b], {})
    fitting = [p for p in profiles if inside(p, [a, b])]
    if chosen is None:
        assert not fitting
        assert all(misfit(p, [a, b], {}) for p in profiles)
    else:
        assert inside(profiles[chosen], [a, b])
        assert volume(profiles[chosen]) == min(map(volume, fitting))


def test_among_equals_the_nearest_optimum_wins() -> None:
    profiles = [{0: InputRange((1,), (o,), (8,))} for o in (8, 2, 4)]
    assert [tightest(profiles, [(n,)], {}) for n in (1, 3, 4, 8)] == [1, 1, 2, 0]


def test_values_of_shape_tensors_decide_too() -> None:
    point = InputRange.fixed((2,))
    profiles = [
        {0: InputRange(point.min, point.opt, point.max, ValueRange(low, low, high))}
        for low, high in (((1, 1), (8, 8)), ((4, 4), (4, 4)))
    ]
    assert tightest(profiles, [(2,)], {0: (4, 4)}) == 1
    assert tightest(profiles, [(2,)], {0: (4, 5)}) == 0
    assert tightest(profiles, [(2,)], {0: (4, 9)}) is None
    assert misfit(profiles[0], [(2,)], {0: (4, 9)}) == "input 0: value 1 is 9, built for 1 to 8"


@pytest.mark.parametrize(
    ("shape", "said"),
    [((9, 4), "dimension 0 is 9, built for 1 to 8"), ((1, 4, 4), "it has 3 dimensions, the engine was built for 2")],
)
def test_a_misfit_is_explained_with_numbers(shape: tuple[int, ...], said: str) -> None:
    profiles = [{0: InputRange((1, 4), (2, 4), (8, 4))}, {0: InputRange.fixed((10, 4))}]
    first, second = explain_misfit(profiles, [shape], {}).split("; ")
    assert first == f"profile 0: input 0: {said}"
    assert second.startswith("profile 1: input 0: ")
