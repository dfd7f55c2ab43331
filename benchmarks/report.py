"""The command ``python -m benchmarks.report JSON…``: tables into the page on performance, plots beside it.

Between two comments of the page, ``begin bench NAME`` and ``end bench NAME``, stands what is written here; the rest of
the page is not touched. Whoever measured is told apart from whoever writes: this reads JSON documents only.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.documents import Document, read
from benchmarks.judging import Verdict, in_mebibytes, middle
from benchmarks.plots import write_plots
from benchmarks.terminal import verdicts_of
from benchmarks.values import ROOT, Outcome

PAGE = ROOT / "docs" / "explanation" / "performance.md"
ASSETS = ROOT / "docs" / "assets"
_MARKS = {True: "met", False: "**not met**", None: ""}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and the plots of the given documents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("json", nargs="+", type=Path, help="what `python -m benchmarks` has written")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="the directory of the plots")
    parser.add_argument("--section", default="", help="write the targets into this one, for a part of all comparisons")
    options = parser.parse_args(arguments)
    for path in options.json:
        _publish(path, options.page, options.assets, options.section)
    return 0


def _publish(path: Path, page: Path, assets: Path, section: str) -> None:
    document = read(path)
    if not section:
        write_plots(document, assets)
    shutil.copyfile(path, assets / f"bench-{section or document.kind}.json")
    text = page.read_text(encoding="utf-8")
    for name, content in ({section: _judged(document)} if section else sections(document)).items():
        text = replace_section(text, name, content)
    page.write_text(text, encoding="utf-8")


def sections(document: Document) -> dict[str, str]:
    """Return the Markdown of a document, by the name of the section that it goes into."""
    if document.kind == "growth":
        plot = _plot("bench-growth.png", "Time and memory against bytes and rows")
        return {"growth": f"{_verdicts(document)}\n\n{plot}\n\n{_machine(document)}"}
    plots = {"time": "Seconds of every contender", "memory": "Peak memory of every contender"}
    shown = [_plot(f"bench-{name}.png", text) for name, text in plots.items()]
    return {
        "targets": _judged(document),
        "figures": "\n\n".join([*shown, _figures(document)]),
    }


def _judged(document: Document) -> str:
    return f"{_verdicts(document)}\n\n{_machine(document)}"


def _plot(name: str, text: str) -> str:
    return f"![{text}](../assets/{name})"


def replace_section(text: str, name: str, content: str) -> str:
    """Return the text of a page with another content between the comments of a section."""
    begin, end = f"<!-- begin bench {name} -->", f"<!-- end bench {name} -->"
    pattern = re.compile(f"(?<={re.escape(begin)}\n).*?(?={re.escape(end)})", re.DOTALL)
    changed, number = pattern.subn(lambda _: f"\n{content}\n\n", text)
    if number != 1:
        raise SystemExit(f"the page needs the lines {begin!r} and {end!r}, once")
    return changed


def _verdicts(document: Document) -> str:
    rows = [(title, *_cells(each)) for title, verdicts in verdicts_of(document) for each in verdicts]
    return _table(("work", "ratio", "measured", "target", ""), _without_repeats(rows))


def _cells(verdict: Verdict) -> tuple[str, ...]:
    return verdict.what, verdict.figure, verdict.target, _MARKS[verdict.met]


def _without_repeats(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the rows with the first cell empty where it repeats that of the row above."""
    above = ["", *(row[0] for row in rows)]
    return [("" if row[0] == before else row[0], *row[1:]) for row, before in zip(rows, above, strict=False)]


def _figures(document: Document) -> str:
    rows = [(result.title, *_measured(outcome)) for result in document.results for outcome in result.outcomes]
    return _table(("work", "", "wall s", "CPU s", "peak memory"), _without_repeats(rows))


def _measured(outcome: Outcome) -> tuple[str, ...]:
    if not outcome.rounds:
        return outcome.contender, outcome.left_out or "failed", "", ""
    figures = middle(outcome.rounds)
    memory = in_mebibytes(figures.memory)
    return outcome.contender, f"{figures.wall_seconds:.3f}", f"{figures.cpu_seconds:.3f}", memory


def _machine(document: Document) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in document.machine.items() if value)
    rounds = f"{document.rounds} rounds" if document.rounds > 1 else "one round"
    return f"Measured on {document.started[:10]}, {rounds}, scale {document.scale}: {_escaped(facts)}."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(_escaped(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Keep Markdown from reading a name such as ``<object@>`` as a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
