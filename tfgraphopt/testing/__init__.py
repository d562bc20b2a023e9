"""The published test kit: graph strategies for hypothesis, one-line contracts, numeric comparison with TensorFlow, text cases.

Needs ``hypothesis`` and ``pytest`` (``pip install tfgraphopt[test]``); nothing else in tfgraphopt does. Switch the pytest
fixtures and options on with ``pytest_plugins = ["tfgraphopt.testing.pytest_plugin"]``.
"""
