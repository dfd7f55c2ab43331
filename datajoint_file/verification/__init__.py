"""Verification of stored files against what their rows say of them.

It mends and deletes nothing. Only `verify` and `subjects` know DataJoint.
"""

from datajoint_file.verification.budget import Budget
from datajoint_file.verification.check_object import LEVELS, Level, check_level
from datajoint_file.verification.findings import Finding, VerifyReport
from datajoint_file.verification.verification import FileValue, ListedRow, Verification

__all__ = [
    "LEVELS",
    "Budget",
    "FileValue",
    "Finding",
    "Level",
    "ListedRow",
    "Verification",
    "VerifyReport",
    "check_level",
]
