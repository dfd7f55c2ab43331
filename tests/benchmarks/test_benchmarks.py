"""The benchmarks run, at a scale at which their figures mean nothing; what figures mean is computed right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.command import main as command
from benchmarks.comparisons import OBJECT, OURS, all_comparisons
from benchmarks.growth import SERIES
from benchmarks.judging import TIMES, fit, in_words, judge, judge_growth
from benchmarks.measuring import measure
from benchmarks.report import PAGE, main, replace_section
from benchmarks.values import MEBI, ROOT, Figures, Outcome, Target

# obstore is not there for Python 3.10.
LEFT_OUT = {""} if sys.version_info >= (3, 11) else {"", "no module obstore"}
PNG = b"\x89PNG\r\n"


def run(output: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--scale", "small", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--output", str(output), "--directory", str(output.parent)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(output.parent.iterdir()) == [output], "scratch files are left"
    kind = "growth" if "growth" in arguments else "comparisons"
    found: dict[str, Any] = json.loads((output / f"{kind}.json").read_text(encoding="utf-8"))
    return found


def assert_page_is_made(results: Path, kind: str, titles: set[str], directory: Path) -> None:
    page = directory / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    assert main([str(results / f"{kind}.json"), "--page", str(page), "--assets", str(directory)]) == 0
    text = page.read_text(encoding="utf-8")
    assert all(f"| {title} |" in text for title in titles)


@pytest.mark.timeout(900)
def test_every_comparison_runs(tmp_path: Path) -> None:
    output = tmp_path / "run" / "results"
    output.parent.mkdir()
    found = run(output)
    assert [result["name"] for result in found["results"]] == [each.name for each in all_comparisons("small")]
    for result in found["results"]:
        assert {outcome["left_out"] for outcome in result["outcomes"]} <= LEFT_OUT, result
        for outcome in result["outcomes"]:
            assert len(outcome["rounds"]) == (0 if outcome["left_out"] else 1)
            assert all(figures["wall_seconds"] > 0 for figures in outcome["rounds"])
    assert all((output / f"bench-{name}.png").read_bytes().startswith(PNG) for name in ("time", "memory"))
    assert_page_is_made(output, "comparisons", {result["title"] for result in found["results"]}, tmp_path)


@pytest.mark.timeout(900)
def test_growth_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "run" / "results"
    output.parent.mkdir()
    found = run(output, "growth")
    assert tuple(dict.fromkeys(result["name"] for result in found["results"])) == SERIES
    assert all(len(outcome["rounds"]) == 1 for result in found["results"] for outcome in result["outcomes"])
    assert (output / "bench-growth.png").read_bytes().startswith(PNG)
    assert_page_is_made(output, "growth", {"size of a file, S3"}, tmp_path)


def test_an_unknown_comparison_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.command import main as command

    with pytest.raises(SystemExit) as caught:
        command(["--only", "fetch,nonsense"])
    assert caught.value.code == 2
    assert "there is no nonsense" in capsys.readouterr().err


def figures(*seconds: float, memory: int = 0) -> list[Figures]:
    return [Figures(each, each, memory) for each in seconds]


def test_ratios_are_of_medians_beside_the_fastest_of_those_they_are_held_against() -> None:
    outcomes = [
        Outcome(OURS, True, figures(1.0, 2.0, 9.0)),
        Outcome(OBJECT, False, figures(5.0, 4.0, 3.0)),
        Outcome("slow", False, figures(100.0, 100.0, 100.0)),
    ]
    targets = [
        Target(OURS, ("slow", OBJECT), at_most=0.4),
        Target(OURS, (OBJECT,), at_least=2),
        Target(OURS, ("absent",), at_least=2),
    ]
    at_most, at_least, memory = judge(targets, outcomes)
    assert (at_most.what, at_most.met) == (f"{OURS} / {OBJECT}", False)
    assert at_most.figure.startswith("0.50")
    assert (at_least.figure[:4], at_least.met) == ("2.00", True)
    assert memory.met


def test_a_megabyte_more_than_the_target_is_too_much() -> None:
    [verdict] = judge([], [Outcome(OURS, True, figures(1.0, memory=65 * MEBI))])
    assert verdict.met is False


def test_a_power_law_is_found_in_the_larger_half() -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    exponent, factor = fit(sizes, [9, 9, 9, *(0.5 * size**1.5 for size in sizes[3:])])
    assert exponent == pytest.approx(1.5)
    assert factor == pytest.approx(0.5)


def test_growing_memory_is_not_flat() -> None:
    points = [Figures(float(size), 0, size * 30 * MEBI) for size in (1, 2, 3, 4)]
    time, memory = judge_growth([1, 2, 3, 4], points)
    assert time.met
    assert memory.met is False


def test_peak_memory_is_that_of_the_call_alone() -> None:
    before = bytearray(200 * MEBI)
    del before
    taken = measure(lambda: len(bytearray(50 * MEBI)))
    assert 45 * MEBI < taken.memory < 80 * MEBI


def test_a_child_counts() -> None:
    program = "block = bytearray(60_000_000); sum(range(10**6))"
    taken = measure(lambda: subprocess.run([sys.executable, "-c", program], check=True))
    assert taken.memory > 60_000_000
    assert taken.cpu_seconds > 0


@pytest.mark.parametrize(
    ("number", "size", "words"),
    [
        (1, 2**30, "1 GiB"),
        (100, 10 * MEBI, f"100 {TIMES} 10 MiB"),
        (5000, 4096, f"5,000 {TIMES} 4 KiB"),
        (3000, 0, "3,000 rows"),
    ],
)
def test_workloads_are_told_in_words(number: int, size: int, words: str) -> None:
    assert in_words(number, size) == words


def test_a_page_without_its_marks_is_not_changed() -> None:
    with pytest.raises(SystemExit, match="begin bench targets"):
        replace_section("# A page\n", "targets", "| a |")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--directory", "/nowhere"),
        ("--directory", __file__),
        ("--output", f"{__file__}/x"),
        ("--rounds", "0"),
        ("--rounds", "x"),
        ("--only", "x"),
    ],
)
def test_what_is_given_is_checked_before_anything_is_run(
    arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert caught.value.code == 2
    assert arguments[1] in capsys.readouterr().err
