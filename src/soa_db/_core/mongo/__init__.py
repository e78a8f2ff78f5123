"""Decisions about MongoDB, without I/O: what its errors mean, how a connection string is written."""
