"""Decisions about MongoDB: what its errors mean."""
