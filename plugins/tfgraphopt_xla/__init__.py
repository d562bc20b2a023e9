"""XLA as an engine: segments become functions that TensorFlow must compile, and nothing but stock TensorFlow runs the result.

A plugin like a third party's: it reads the lowered body that ``tfgraphopt_trt`` makes, after layout, folding and precision, lays it out
channels last, traces what its layers mean, and puts a call of that function in the engine node's place.
"""
