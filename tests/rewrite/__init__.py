"""Tests of patterns, the driver and the rules that come with the framework."""
