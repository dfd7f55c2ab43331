"""Reports of used storage as they print and are drawn; where their numbers come from is for the integration tests."""

from __future__ import annotations

import tracemalloc

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from datajoint_file.query.branches import MOST_LINES, Branch, FileTree
from datajoint_file.query.used import Usage, UsageRow


@pytest.fixture(autouse=True)
def _canvas() -> None:
    mpl.use("Agg")
    plt.close("all")


def used(by: tuple[str, ...], rows: dict[tuple[object, ...], int], **others: int) -> Usage:
    made = tuple(UsageRow(group, 1, size) for group, size in rows.items())
    return Usage(by, made, UsageRow((), len(made), sum(rows.values()), **others))


def test_many_groups_are_printed_in_part_and_kept_whole() -> None:
    found = used(("subject_id",), {(number,): 10**6 for number in range(150)})
    lines = str(found).splitlines()
    assert len(lines) == 1 + 100 + 1 + 1
    assert lines[-2] == "… and 50 more groups, 50.0 MB"
    assert lines[-1].split() == ["total", "150", "150.0", "MB"]
    assert len(found.to_pandas()) == len(found.to_dict()["rows"]) == 150
    assert found._repr_html_().count("<tr>") == 102
    assert len(found.plot().patches) == 30


def test_what_terminals_and_browsers_would_run_is_escaped() -> None:
    found = used(("title\x1b[2J",), {("<script>\x1b[2J",): 1})
    assert "\x1b" not in str(found)
    assert "<script>" not in found._repr_html_()
    tree = FileTree("key", (Branch("<script>\x1b[2J", is_file=True),))
    assert "\x1b" not in str(tree)
    assert "<script>" not in tree._repr_html_()


def test_growth_adds_up_and_shows_months_in_which_nothing_came() -> None:
    axes = used(("month",), {("2025-11",): 2000, ("2026-02",): 3000}).plot()
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert list(line.get_ydata()) == [2, 2, 2, 5]
    assert axes.get_ylabel() == "kB"
    damaged = used(("month",), {("0001-01",): 1, ("9999-12",): 1, (None,): 1}).plot()
    assert len(damaged.get_lines()[0].get_xdata()) == 3
    several = used(("month", "subject"), {("2026-01", f"_s$x{number}"): number for number in range(12)}).plot()
    several.figure.canvas.draw()
    assert len(several.get_legend().get_texts()) == 10
    assert used(("month",), {}).plot() is not None


def test_growth_of_many_groups_keeps_the_lines_that_are_drawn_alone() -> None:
    groups: dict[tuple[object, ...], int] = {
        (number, f"20{10 + number % 20}-01"): 10**6 + number for number in range(20_000)
    }
    tracemalloc.start()
    axes = used(("subject_id", "month"), groups).plot()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [line.get_label() for line in axes.get_lines()] == [str(number) for number in range(19_999, 19_989, -1)]
    assert peak < 40 * 2**20, "not a number for each month of each group"


def test_a_tree_prints_no_more_than_can_be_read() -> None:
    files = tuple(Branch(f"{number}.dat", 1, 5, is_file=True) for number in range(MOST_LINES + 500))
    lines = str(FileTree("key", (Branch("lab", branches=files),))).splitlines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].startswith("… and more lines")
    assert str(FileTree("key")) == "no files"
