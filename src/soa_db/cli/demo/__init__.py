"""``soa-db demo``: the whole idea on real servers."""
