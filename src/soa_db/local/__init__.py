"""The embedded environment: real servers, emulated AWS and the RDS IAM gate."""
