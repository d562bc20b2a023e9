"""OpenVINO as an engine: segments run on CPUs, behind the same op that runs TensorRT plans.

A plugin like a third party's: it reads the lowered body that ``tfgraphopt_trt`` makes, maps each layer to OpenVINO's operations,
packs the model as the plan of its engine node, and brings the runtime that executes such plans.
"""
