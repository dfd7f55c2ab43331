"""Diagnostics of configuration, store and database: what is wrong, and what to do about it.

The database is checked in `datajoint_file.doctor.database`; how checks are shown is the command line's.
"""

from datajoint_file.doctor.check import SEVERITY, Check, Status
from datajoint_file.doctor.configuration import check_configuration
from datajoint_file.doctor.store import check_store

__all__ = ["SEVERITY", "Check", "Status", "check_configuration", "check_store"]
