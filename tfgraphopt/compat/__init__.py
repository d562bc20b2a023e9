"""Interfaces of other projects, on top of tfgraphopt."""
