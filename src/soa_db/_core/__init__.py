"""Decisions without I/O: no clock, no chance, no environment, no network. ``now`` and ``rng`` are arguments."""
