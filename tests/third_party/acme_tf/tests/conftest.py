"""TensorFlow is to know the op."""

from acme_tf import op

pytest_plugins = ["tfgraphopt.testing.pytest_plugin"]
op.load()
