"""The pages of the documentation as tests see them: fenced blocks, in order, with their line numbers.

Text only; what is done with a block is decided in the tests and in `run_page`.

A comment on the line before a fence says how a block is treated:

``<!-- skip: reason -->``
    Not run, only compiled: it would need an account in somebody's cloud.
``<!-- needs: module -->``
    Run if the module is installed, else only compiled; so are commands.
``<!-- restart -->``
    A new process begins with this block, in the same directory.
``<!-- run -->``
    The commands of this ``console`` block are carried out, not only looked at.

A ``text`` block titled *Output* is what the block before it prints; ``…`` stands for anything within a line, and alone
on one for any lines. A block titled with the name of a ``.py`` file, or *datajoint.toml*, is that file from there on.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<content>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"<!-- (skip|needs|restart|run)(?:: (.+?))? -->\n+ *\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Parameters
    ----------
    page : str
        The page's path in the repository.
    line : int
        The number of its first line of content.
    language : str
        ``python``, ``toml``, ``console``, ``text``, …
    title : str
        Its title, if it has one.
    directive : str
        ``skip``, ``needs``, ``restart``, ``run`` or nothing.
    argument : str
        What the directive says.
    content : str
        The text between the fences, without their indentation.
    """

    page: str
    line: int
    language: str
    title: str
    directive: str
    argument: str
    content: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_output(self) -> bool:
        return self.language == "text" and self.title == "Output"

    @property
    def is_configuration(self) -> bool:
        return self.title == "datajoint.toml"

    @property
    def file(self) -> str:
        """The name of the file that the block is, if it is one."""
        return self.title if self.is_configuration or self.title.endswith(".py") else ""

    @property
    def is_run(self) -> bool:
        """Whether the block is carried out when its page is."""
        if self.directive == "needs" and importlib.util.find_spec(self.argument) is None:
            return False
        if self.language == "python":
            return self.directive != "skip"
        return self.directive in ("run", "needs") or self.is_output or bool(self.file)

    @property
    def commands(self) -> list[str]:
        """The command lines of a ``console`` block; a backslash continues one."""
        joined = self.content.replace("\\\n", " ")
        return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]


def documentation() -> list[Path]:
    """Return every page that users read."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return pages + [page for page in sorted((ROOT / "docs").rglob("*.md")) if "adr" not in page.parts]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of *page*."""
    return list(_blocks(page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8")))


def blocks_of(language: str) -> list[Block]:
    """Return the blocks in *language* of all pages."""
    return [block for page in documentation() for block in blocks(page) if block.language == language]


def modules() -> list[str]:
    """Return the names of the package's modules, importing none."""
    files = sorted(path.relative_to(ROOT).with_suffix("") for path in (ROOT / "datajoint_file").rglob("*.py"))
    return [".".join(file.parts).removesuffix(".__init__") for file in files]


def arguments(command: str) -> list[str]:
    """Split a command line as a shell does, without its comment."""
    return shlex.split(command, comments=True)


def _blocks(page: str, text: str) -> Iterator[Block]:
    for fence in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: fence.start()])
        title = re.search(r'title="([^"]*)"', fence["info"])
        yield Block(
            page=page,
            line=text.count("\n", 0, fence.start()) + 2,
            language=fence["language"],
            title=title[1] if title else "",
            directive=comment[1] if comment else "",
            argument=(comment[2] or "") if comment else "",
            content=re.sub(rf"^{fence['indent']}", "", fence["content"], flags=re.MULTILINE),
        )
