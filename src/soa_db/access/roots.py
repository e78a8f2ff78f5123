"""A certificate authority that signs none of our servers, to see that one is refused that was not asked for."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["unrelated_root"]


@cache
def unrelated_root() -> str:
    """A public root that signs no server of AWS: Amazon's own (under two names) are passed over."""
    import certifi

    for block in re.split(r"(?=^# Issuer:)", certifi.contents(), flags=re.MULTILINE):
        if "BEGIN CERTIFICATE" in block and not re.search("amazon|starfield", block, re.IGNORECASE):
            return block[block.index("-----BEGIN CERTIFICATE") :]
    raise AssertionError("certifi holds no root but Amazon's")
