"""A managed ``file`` attribute for DataJoint: rows and their files stay together, on disk, S3, GCS or Azure.

Importing this package makes bare ``file`` a type in table definitions.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from datajoint_file import startup  # before DataJoint, which speaks while it is imported

if TYPE_CHECKING:
    from datajoint_file import cache, formats, gc, mirror
    from datajoint_file.downloads.download import download
    from datajoint_file.downloads.prefetch import prefetch
    from datajoint_file.drills.drill import drill
    from datajoint_file.drills.report import DrillReport
    from datajoint_file.errors import DataJointFileError, OutcomeUnknownError
    from datajoint_file.exchange.export import Exported, export
    from datajoint_file.exchange.importing import Imported, import_
    from datajoint_file.exchange.rebuild import Rebuilt, rebuild
    from datajoint_file.hooks.connections import configure
    from datajoint_file.insert.copy_in import CopiedIn, copy_in
    from datajoint_file.insert.create import create
    from datajoint_file.insert.skipping import FailedRow, InsertReport
    from datajoint_file.insert.stage import stage
    from datajoint_file.insert.staged import Staged
    from datajoint_file.intake.free import Freed, free
    from datajoint_file.intake.joined_rows import Duplicate, Unmatched
    from datajoint_file.intake.scan import Scan, scan
    from datajoint_file.intake.watch import Look, News
    from datajoint_file.intake.watch_loop import watch
    from datajoint_file.jobs.capture import capture, captures
    from datajoint_file.jobs.inputs import inputs
    from datajoint_file.jobs.outputs import CapturedDirectory, CapturedFile
    from datajoint_file.jobs.run import Run
    from datajoint_file.journal.commit_outcome import Outcome, resolve
    from datajoint_file.journal.running_program import program
    from datajoint_file.migrate.migration import Migration
    from datajoint_file.migrate.report import MigrationProblem, MigrationReport
    from datajoint_file.model.metadata import FileMetadata
    from datajoint_file.pipeline.directoryref import DirectoryRef
    from datajoint_file.pipeline.fileref import FileRef
    from datajoint_file.query.files import FileItem, Files, files
    from datajoint_file.query.find import Earlier, FindReport, Found, find
    from datajoint_file.query.index import IndexReport, index
    from datajoint_file.query.source import Source, source
    from datajoint_file.query.tags import tag, tagged, tags, untag
    from datajoint_file.query.tree import tree
    from datajoint_file.query.usage import usage
    from datajoint_file.query.where import FileCondition, where
    from datajoint_file.transfer.directories import Directory
    from datajoint_file.transfer.links import Link
    from datajoint_file.transfer.sources import File
    from datajoint_file.undo.restore import NotRestored, Undeleted, revert, undelete
    from datajoint_file.undo.versions import Version, history
    from datajoint_file.verification import VerifyReport
    from datajoint_file.verification.unverified import unverified
    from datajoint_file.verification.verify import verify

__version__ = "0.1.0"

__all__ = [
    "CapturedDirectory",
    "CapturedFile",
    "CopiedIn",
    "DataJointFileError",
    "Directory",
    "DirectoryRef",
    "DrillReport",
    "Duplicate",
    "Earlier",
    "Exported",
    "FailedRow",
    "File",
    "FileCondition",
    "FileItem",
    "FileMetadata",
    "FileRef",
    "Files",
    "FindReport",
    "Found",
    "Freed",
    "Imported",
    "IndexReport",
    "InsertReport",
    "Link",
    "Look",
    "Migration",
    "MigrationProblem",
    "MigrationReport",
    "News",
    "NotRestored",
    "Outcome",
    "OutcomeUnknownError",
    "Rebuilt",
    "Run",
    "Scan",
    "Source",
    "Staged",
    "Undeleted",
    "Unmatched",
    "VerifyReport",
    "Version",
    "cache",
    "capture",
    "captures",
    "configure",
    "copy_in",
    "create",
    "download",
    "drill",
    "export",
    "files",
    "find",
    "formats",
    "free",
    "gc",
    "history",
    "import_",
    "index",
    "inputs",
    "mirror",
    "prefetch",
    "program",
    "rebuild",
    "resolve",
    "revert",
    "scan",
    "source",
    "stage",
    "tag",
    "tagged",
    "tags",
    "tree",
    "undelete",
    "untag",
    "unverified",
    "usage",
    "verify",
    "watch",
    "where",
]

_HOMES = {
    "CapturedDirectory": "jobs.outputs",
    "CapturedFile": "jobs.outputs",
    "CopiedIn": "insert.copy_in",
    "DataJointFileError": "errors",
    "Directory": "transfer.directories",
    "DirectoryRef": "pipeline.directoryref",
    "Duplicate": "intake.joined_rows",
    "DrillReport": "drills.report",
    "Earlier": "query.find",
    "Exported": "exchange.export",
    "FailedRow": "insert.skipping",
    "File": "transfer.sources",
    "FileCondition": "query.where",
    "FileItem": "query.files",
    "FileMetadata": "model.metadata",
    "FileRef": "pipeline.fileref",
    "Files": "query.files",
    "FindReport": "query.find",
    "Found": "query.find",
    "Imported": "exchange.importing",
    "IndexReport": "query.index",
    "Freed": "intake.free",
    "InsertReport": "insert.skipping",
    "Link": "transfer.links",
    "Look": "intake.watch",
    "News": "intake.watch",
    "Migration": "migrate.migration",
    "MigrationProblem": "migrate.report",
    "MigrationReport": "migrate.report",
    "NotRestored": "undo.restore",
    "Outcome": "journal.commit_outcome",
    "OutcomeUnknownError": "errors",
    "Rebuilt": "exchange.rebuild",
    "Run": "jobs.run",
    "Scan": "intake.scan",
    "Source": "query.source",
    "Staged": "insert.staged",
    "Undeleted": "undo.restore",
    "Unmatched": "intake.joined_rows",
    "VerifyReport": "verification",
    "Version": "undo.versions",
    "capture": "jobs.capture",
    "captures": "jobs.capture",
    "configure": "hooks.connections",
    "copy_in": "insert.copy_in",
    "create": "insert.create",
    "download": "downloads.download",
    "export": "exchange.export",
    "drill": "drills.drill",
    "files": "query.files",
    "find": "query.find",
    "free": "intake.free",
    "history": "undo.versions",
    "import_": "exchange.importing",
    "index": "query.index",
    "inputs": "jobs.inputs",
    "prefetch": "downloads.prefetch",
    "program": "journal.running_program",
    "rebuild": "exchange.rebuild",
    "resolve": "journal.commit_outcome",
    "revert": "undo.restore",
    "scan": "intake.scan",
    "source": "query.source",
    "stage": "insert.stage",
    "tree": "query.tree",
    "tag": "query.tags",
    "tagged": "query.tags",
    "tags": "query.tags",
    "undelete": "undo.restore",
    "untag": "query.tags",
    "unverified": "verification.unverified",
    "usage": "query.usage",
    "verify": "verification.verify",
    "watch": "intake.watch_loop",
    "where": "query.where",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use, for its cost alone: most programs never collect or verify anything."""
    if name in ("cache", "formats", "gc", "mirror"):
        return import_module(f"datajoint_file.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'datajoint_file' has no attribute {name!r}", name=name)
    value = globals()[name] = getattr(import_module(f"datajoint_file.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not startup.is_command():  # which hooks into DataJoint when it needs it: `datajoint-file --help` does not
    from datajoint_file.hooks.installation import install

    install()
