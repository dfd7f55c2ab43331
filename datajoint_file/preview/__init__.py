"""Previews: what is in a stored file or directory, in a notebook or on a terminal, from as few bytes as that takes.

Formats are told by media type. Nothing of a file is run, unpickled, or shown as markup of its own.
"""

from datajoint_file.preview.directories import preview_directory
from datajoint_file.preview.kinds import preview_file
from datajoint_file.preview.shown import Preview
from datajoint_file.preview.stream import Subject

__all__ = ["Preview", "Subject", "preview_directory", "preview_file"]
