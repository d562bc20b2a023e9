"""The ops of engine nodes, and how the nodes keep their plans."""

from __future__ import annotations

from tfgraphopt.runtimes import PlanAttributes

OPS = ("TRTEngineOp", "TfgraphoptEngineOp")
PLANS = PlanAttributes(
    OPS, data="serialized_segment", path="plan_path", digest="plan_digest", register="TfgraphoptRegisterPlans", body="segment_func",
    body_inputs="body_inputs", types="InT",
)  # fmt: skip
