"""Mirrors and moves: what rows and histories name, brought to a second place, and one place exchanged for another.

No row is changed here, and of objects only such as are proven to be wrong are replaced.
"""

from datajoint_file.mirror.mirror_run import MirrorReport, run
from datajoint_file.mirror.project_move import Certificate, move

__all__ = ["Certificate", "MirrorReport", "move", "run"]
