"""The benchmarks run, at a scale at which their figures mean nothing; what figures mean is computed right."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import proxy
from benchmarks.command import choose
from benchmarks.command import main as command
from benchmarks.comparisons import ATTACH, OBJECT, OURS, all_comparisons
from benchmarks.growth import SERIES
from benchmarks.judging import TIMES, fit, in_words, judge, judge_growth
from benchmarks.measuring import measure
from benchmarks.report import PAGE, main, replace_section
from benchmarks.values import MEBI, ROOT, Figures, Outcome, Target
from tests.servers.process import HOST, free_ports

# obstore is not there for Python 3.10.
LEFT_OUT = {""} if sys.version_info >= (3, 11) else {"", "no module obstore"}
PNG = b"\x89PNG\r\n"


def run(output: Path, *arguments: str) -> dict[str, Any]:
    called = [sys.executable, "-m", "benchmarks", *arguments, "--scale", "small", "--rounds", "1"]
    done = subprocess.run(
        [*called, "--output", str(output), "--directory", str(output.parent)],
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
@pytest.mark.parametrize("only", ["fetch,insert-mid-*", pytest.param("*", marks=pytest.mark.release)])
def test_every_comparison_runs(only: str, tmp_path: Path) -> None:
    output = tmp_path / "run" / "results"
    output.parent.mkdir()
    found = run(output, "--only", only)
    names = [each.name for each in all_comparisons("small")]
    assert [result["name"] for result in found["results"]] == choose(only, names)
    for result in found["results"]:
        assert {outcome["left_out"] for outcome in result["outcomes"]} <= LEFT_OUT, result
        for outcome in result["outcomes"]:
            assert len(outcome["rounds"]) == (0 if outcome["left_out"] else 1)
            assert all(figures["wall_seconds"] > 0 for figures in outcome["rounds"])
    assert all((output / f"bench-{name}.png").read_bytes().startswith(PNG) for name in ("time", "memory"))
    assert_page_is_made(output, "comparisons", {result["title"] for result in found["results"]}, tmp_path)


@pytest.mark.release
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
    with pytest.raises(SystemExit) as caught:
        command(["--only", "fetch,nonsense"])
    assert caught.value.code == 2
    assert "there is no nonsense" in capsys.readouterr().err


def test_a_pattern_stands_for_names() -> None:
    known = [each.name for each in all_comparisons("full")]
    assert choose("fetch,*-10ms", known) == ["fetch", *(name for name in known if name.endswith("-10ms"))]
    with pytest.raises(ValueError, match=r"there is no \*-7ms"):
        choose("fetch,*-7ms", known)


def test_another_state_of_the_package_is_measured_in_turn(tmp_path: Path) -> None:
    package = tmp_path / "before" / "datajoint_file"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this is the other one')")
    called = [sys.executable, "-m", "benchmarks", "--only", "insert-mid-local", "--scale", "small", "--rounds", "1"]
    places = ["--output", str(tmp_path / "results"), "--against", str(package.parent), "--directory", str(tmp_path)]
    done = subprocess.run([*called, *places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    [result] = json.loads((tmp_path / "results" / "comparisons.json").read_text(encoding="utf-8"))["results"]
    errors = {outcome["contender"]: outcome["error"] for outcome in result["outcomes"]}
    assert "this is the other one" in errors.pop(f"{OURS}, before")
    assert errors == {OURS: "", OBJECT: "", ATTACH: ""}


@pytest.mark.parametrize("arguments", [["--against", "nowhere"], ["growth", "--against", str(ROOT)]])
def test_what_cannot_be_compared_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command(arguments)
    assert caught.value.code == 2
    assert "--against" in capsys.readouterr().err


def test_bytes_pass_the_proxy_late_and_side_by_side() -> None:
    took, content = asyncio.run(through_the_proxy(round_trip_seconds=0.2, connections=20))
    first, again, all_at_once, many_bytes = took
    assert first > 0.4, "a new connection costs a round trip more"
    assert again > 0.2
    assert all_at_once < 4, "20 connections wait for each other"
    assert many_bytes < 6, "a window limits the bandwidth"
    assert content == CONTENT


CONTENT = os.urandom(8 * MEBI)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def through_the_proxy(round_trip_seconds: float, connections: int) -> tuple[list[float], bytes]:
    [port] = free_ports(1)
    server = await asyncio.start_server(echo, HOST)
    arguments = [proxy.__file__, str(port), HOST, str(server.sockets[0].getsockname()[1]), str(round_trip_seconds)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    streams: list[Streams] = []
    try:
        streams += [await connected(port)]
        first, _ = await timed(exchange(*streams[0], b"ping"))
        again, _ = await timed(exchange(*streams[0], b"ping"))
        streams += [await connected(port) for _ in range(connections)]
        all_at_once, _ = await timed(asyncio.gather(*(exchange(*each, b"ping") for each in streams)))
        many_bytes, content = await timed(exchange(*streams[0], CONTENT))
        return [first, again, all_at_once, many_bytes], content
    finally:
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()
        server.close()
        process.kill()
        await process.wait()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(2**18):
        writer.write(block)
        await writer.drain()
    writer.close()


async def connected(port: int) -> Streams:
    while True:
        try:
            return await asyncio.open_connection(HOST, port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> bytes:
    writer.write(content)
    return await reader.readexactly(len(content))


async def timed(work: Awaitable[Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = await work
    return time.perf_counter() - began, done


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
    outcome = Outcome(OURS, True, figures(1.0, memory=65 * MEBI))
    for targets, is_met in (
        ([], False),
        ([Target(OURS, memory=64 * MEBI)], False),
        ([Target(OURS, memory=65 * MEBI)], True),
    ):
        [verdict] = judge(targets, [outcome])
        assert verdict.met is is_met


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
