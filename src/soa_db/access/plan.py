"""Specs and what a server has → a plan: changes as sentences, pure."""
