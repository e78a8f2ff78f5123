"""Decisions about Redis, without I/O."""
