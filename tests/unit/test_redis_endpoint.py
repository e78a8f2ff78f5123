"""What an ElastiCache endpoint's name says."""

from __future__ import annotations

import pytest

from soa_db._core.redis.endpoint import CacheEndpoint, cache_endpoint


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("master.chat.ab12cd.usw2.cache.amazonaws.com", CacheEndpoint("chat", serverless=False, cluster=False)),
        ("replica.chat.ab12cd.usw2.cache.amazonaws.com", CacheEndpoint("chat", serverless=False, cluster=False)),
        ("chat-001.chat.ab12cd.usw2.cache.amazonaws.com", CacheEndpoint("chat", serverless=False, cluster=False)),
        ("clustercfg.Chat.ab12cd.usw2.cache.amazonaws.com", CacheEndpoint("chat", serverless=False, cluster=True)),
        ("chat.ab12cd.ng.0001.usw2.cache.amazonaws.com", CacheEndpoint("chat", serverless=False, cluster=False)),
        ("chat.ab12cd.clustercfg.usw2.cache.amazonaws.com.", CacheEndpoint("chat", serverless=False, cluster=True)),
        ("my-chat-ab12cd.serverless.usw2.cache.amazonaws.com", CacheEndpoint("my-chat", serverless=True, cluster=True)),
        ("master.chat.ab12cd.cnn1.cache.amazonaws.com.cn", CacheEndpoint("chat", serverless=False, cluster=False)),
        ("redis.internal.example", None),
        ("127.0.0.1", None),
        ("cache.amazonaws.com", None),
        ("x.cache.amazonaws.com", None),
    ],
)
def test_an_endpoint_names_its_cache_and_its_kind(host: str, expected: CacheEndpoint | None) -> None:
    """The endpoints as AWS documents them; of any other host nothing is guessed."""
    assert cache_endpoint(host) == expected
