"""What the providers need of pymongo that both kinds share: its errors, its options, its heartbeats."""
