"""Verification of stored files against what their rows say of them.

It changes nothing in a store unless it is told to: `mend` then takes what is right from the project's other place. Only
`verify`, `subjects`, `records`, `open_findings` and `unverified` know DataJoint.
"""

from datajoint_file.verification.findings import Finding, VerifyReport

__all__ = ["Finding", "VerifyReport"]
