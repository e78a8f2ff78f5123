"""Redis: users with access strings, by ElastiCache's API or on the server itself; what they can and cannot do."""
