"""What the host name of an ElastiCache endpoint says. Pure.

With TLS: ``master.NAME.ID.REGION.cache.amazonaws.com``, ``replica.…`` and ``NAME-001.NAME.ID.…`` of a replication
group, ``clustercfg.NAME.ID.…`` of one in cluster mode. Without: ``NAME.ID.ng.0001.…`` and ``NAME.ID.clustercfg.…``.
Serverless: ``NAME-ID.serverless.…``.
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Endpoints.html
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CacheEndpoint", "cache_endpoint"]

_SUFFIXES = (".cache.amazonaws.com", ".cache.amazonaws.com.cn")


@dataclass(frozen=True, slots=True)
class CacheEndpoint:
    """What an endpoint's name says.

    Attributes:
        cache_name: the replication group or serverless cache.
        serverless: it is a serverless cache.
        cluster: it is to be spoken to in cluster mode.
    """

    cache_name: str
    serverless: bool
    cluster: bool


def cache_endpoint(host: str) -> CacheEndpoint | None:
    """Return what an ElastiCache endpoint's name says, None for any other host."""
    name = host.lower().rstrip(".")
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), None)
    if suffix is None:
        return None
    labels = name.removesuffix(suffix).split(".")
    match labels:
        case [cache, "serverless", _]:
            # AWS appends a hyphen and six characters to the name.
            return CacheEndpoint(cache.rpartition("-")[0] or cache, serverless=True, cluster=True)
        case ["clustercfg", cache, _, _] | [cache, _, "clustercfg", _]:
            return CacheEndpoint(cache, serverless=False, cluster=True)
        case ["master" | "replica", cache, _, _] | [cache, _, "ng", _, _] | [_, cache, _, _]:
            return CacheEndpoint(cache, serverless=False, cluster=False)
        case _:
            return None
