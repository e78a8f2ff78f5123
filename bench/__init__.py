"""Benchmarks: ratios measured in one run against the thing itself (`make bench`)."""
