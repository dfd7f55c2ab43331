"""Verification of stored files against what their rows say of them.

It mends and deletes nothing. Only `verify`, `subjects`, `records`, `open_findings` and `unverified` know DataJoint.
"""

from datajoint_file.verification.findings import Finding, VerifyReport

__all__ = ["Finding", "VerifyReport"]
