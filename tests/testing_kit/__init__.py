"""Tests of the published test kit."""
