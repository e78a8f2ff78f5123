"""The embedded environment: real PostgreSQL servers, an emulated AWS and the RDS IAM gate, on one machine.

Nothing here is imported by the library itself. ``postgres`` runs a server, ``aws`` the emulated AWS, ``gate`` the RDS
IAM authentication in front of a server, ``environment`` all of it as dev, mirror and prod.
"""
