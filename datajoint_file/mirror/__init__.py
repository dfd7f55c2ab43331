"""Mirrors and moves: what rows and histories name, brought to a second place, and one place exchanged for another.

No row is changed here, and of objects only such as are proven to be wrong are replaced.
"""

from datajoint_file.mirror.mirror_run import MirrorReport, run

__all__ = ["MirrorReport", "run"]
