"""What the shells need of the world, in a hand-written pair: ``_async`` on asyncio, ``_sync`` on threads.

Both modules have the same names. A shell imports ``soa_db._runtime._async``; ``tools/generate_sync.py`` turns that
into ``soa_db._runtime._sync``, and ``tests/arch/test_generated.py`` holds the two faces equal.
"""
