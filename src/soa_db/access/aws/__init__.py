"""What provisioning keeps in AWS: secrets with their stages, and policies."""
