"""Functions in the explanation: bodies of loops and branches, with what became of their nodes."""

from __future__ import annotations

from explanation.models import body_of, explained, looped, short


def test_nodes_of_a_loop_that_stays_have_verdicts_of_their_own() -> None:
    blocked = explained(looped(blocked=True))
    body = body_of(blocked, "before", "blocker")
    found = {short(n.name): n for n in body.nodes}
    verdict = found["blocker"].verdict
    assert verdict is not None
    assert verdict.status in ("no converter", "refused")
    products = [n for n in body.nodes if n.op == "MatMul"]
    assert len(products) == 4
    assert {n.segment for n in products} <= blocked.report.segments.keys()
    assert {n.verdict.status for n in products if n.verdict} == {"converted"}
    after = body_of(blocked, "after", "blocker")
    assert [n.name for n in after.nodes if n.segment] == [
        s for s in blocked.report.segments if s in {n.name for n in after.nodes}
    ]
    assert any(n.segment for n in after.nodes)


def test_nodes_of_a_loop_in_an_engine_go_with_the_loop() -> None:
    explanation = explained(looped(blocked=False))
    (segment,) = explanation.report.segments
    for node in ("then_tanh", "else_relu"):
        view = body_of(explanation, "before", node)
        found = next(n for n in view.nodes if short(n.name) == node)
        assert found.segment == segment
        assert found.verdict is not None
        assert "which runs it" in found.verdict.reason
    assert not [v for v in explanation.views if v.kind == "after" and v.function]
