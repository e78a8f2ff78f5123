"""What the managers need of redis-py: its classes with ours beneath them, in a hand-written pair, and its errors."""
