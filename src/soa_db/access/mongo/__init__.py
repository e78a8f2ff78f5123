"""MongoDB: users and roles, from what the specs want to what a server has."""
