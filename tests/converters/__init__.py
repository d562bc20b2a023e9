"""Tests of the converters: every converter against TensorFlow itself."""
