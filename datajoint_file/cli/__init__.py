"""Command line ``datajoint-file``: one module a command, and only what concerns the terminal.

What the commands do is done by the library.
"""

from datajoint_file.cli.main import main

__all__ = ["main"]
