"""Roles in code on PostgreSQL: inspect, diff, render, probe."""
