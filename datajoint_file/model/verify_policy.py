"""Verify policy: names of how much of what is read is compared with the row.

What each means for a read is `pipeline.checked_reads`' business.
"""

from __future__ import annotations

from typing import Literal, get_args

from datajoint_file.errors import brief

VerifyPolicy = Literal["always", "first", "size", "never"]

POLICIES: tuple[VerifyPolicy, ...] = get_args(VerifyPolicy)

ALLOWED = ", ".join(f'"{policy}"' for policy in POLICIES)


def check_policy(given: str) -> VerifyPolicy:
    """Return *given* if there is such a policy, else raise `ValueError`.

    Examples
    --------
    >>> check_policy("first")
    'first'
    """
    if given not in POLICIES:
        raise ValueError(f"verify = {brief(given)}: allowed are {ALLOWED}")
    return given
