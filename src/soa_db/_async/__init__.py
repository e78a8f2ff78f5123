"""The hand-written asynchronous shells; ``_sync`` is generated from them by ``tools/generate_sync.py``."""
