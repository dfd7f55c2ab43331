"""Formats: objects to files and back, each by the suffix of the file's name.

An insert takes ``("events.parquet", frame)``, and ``ref.load()`` gives the frame back. `register` adds formats.
"""

from datajoint_file.formats.registry import register

__all__ = ["register"]
