"""Frozen models that the demo, the tests and the benchmarks share: keras.applications and two pretrained packages."""
