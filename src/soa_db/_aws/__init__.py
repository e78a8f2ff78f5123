"""Blocking access to AWS through botocore, shared by both shells; loaded when AWS is first needed."""
