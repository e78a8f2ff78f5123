"""The chain from AWS identity to a pooled connection, walked step by step: what works, what does not, what to do.

Read-only: no step changes anything anywhere. No answer holds a password or a token.
"""

from soa_db.doctor.report import Finding, Report, Status, Target, TargetReport
from soa_db.doctor.run import diagnose

__all__ = ["Finding", "Report", "Status", "Target", "TargetReport", "diagnose"]
