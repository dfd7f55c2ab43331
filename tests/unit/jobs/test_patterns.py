"""Patterns of outputs: what pathlib's globs match, directories as their whole trees, and what is left out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datajoint_file.errors import UnsupportedValueError
from datajoint_file.jobs.patterns import Patterns

TREE = [
    "df.csv",
    "a/df.csv",
    "plots/n.png",
    "plots/old/s.png",
    "plots/.hidden.png",
    "results/y",
    "results/tmp/x",
    "models/best_model_3.pkl",
    "data/b/c/processed_1.parquet",
    "data/processed_2.parquet",
    "[1].txt",
    "1.txt",
]


@pytest.mark.parametrize(
    ("put", "chosen"),
    [
        ("df.csv", ["df.csv"]),
        ("./df.csv", ["df.csv"]),
        (["df.csv", "*.csv"], ["df.csv"]),
        ("**/*.csv", ["a/df.csv", "df.csv"]),
        ("plots/*.png", ["plots/.hidden.png", "plots/n.png"]),
        (["plots/**/*.png", "!plots/old/"], ["plots/.hidden.png", "plots/n.png"]),
        (["results/", "!results/tmp/*"], ["results/y"]),
        ("results", ["results/tmp/x", "results/y"]),
        (["data/**/processed_*.parquet"], ["data/b/c/processed_1.parquet", "data/processed_2.parquet"]),
        ("models/best_model_*.pkl", ["models/best_model_3.pkl"]),
        ("[[]1].txt", ["[1].txt"]),
        ("[1].txt", ["1.txt"]),
        ("[!a].txt", ["1.txt"]),
        ("df.csv/", []),
        ([".", "!**/*.p*", "!*.*", "!a/"], ["results/tmp/x", "results/y"]),
        ({"df.csv": "the main output", "a/*": None}, ["a/df.csv", "df.csv"]),
    ],
)
def test_patterns_choose_files(put: object, chosen: list[str]) -> None:
    patterns = Patterns.read(put)
    assert sorted(path for path in TREE if patterns.has(path)) == sorted(chosen)


def test_what_cannot_lead_to_an_output_is_not_entered() -> None:
    patterns = Patterns.read(["a/*/c.txt", "d/", "e/**/f", "!d/tmp/"])
    entered = ["a/", "a/b/", "d/", "d/x/y/", "e/", "e/1/2/"]
    assert [path for path in [*entered, "b/", "x/a/", "d/tmp/"] if patterns.has(path)] == entered


def test_an_input_is_no_output_and_patterns_without_a_match_are_told() -> None:
    patterns = Patterns.read(["*.csv", "*.txt"], ["df.csv", "atlas/"])
    assert not patterns.has("df.csv")
    assert not patterns.has("atlas/")
    assert [one.text for one in patterns.idle(["x.txt"])] == ["*.csv"]


@pytest.mark.parametrize("put", ["/etc/passwd", "../x", "a/../../x", "", "!a", b"a", [1], {"a": 3}, "[z-a]", "a\0"])
def test_what_is_no_pattern_is_refused(put: object) -> None:
    with pytest.raises(UnsupportedValueError, match="put = "):
        Patterns.read([put] if isinstance(put, bytes) else put)


_PART = st.sampled_from(["a", "b", "ab", ".a", "a.b", "[", "a]", "^", "é"])
_PATTERN = st.sampled_from(["*", "**", "a*", "*b", "?", "??", "[ab]", "[!a]", "[a-c]*", "a", "ab", "[[]", "[^]", ".*"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(_PART, min_size=1, max_size=3), min_size=1, max_size=6),
    st.lists(_PATTERN, min_size=1, max_size=3).map("/".join),
)
def test_a_glob_is_what_pathlib_makes_of_it(paths: list[list[str]], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for parts in paths:
            try:
                root.joinpath(*parts[:-1]).mkdir(parents=True, exist_ok=True)
                root.joinpath(*parts).touch()
            except OSError:  # another path has a file there, or a directory
                continue
        found = set(root.glob(pattern))
        files = [path for path in root.rglob("*") if path.is_file()]
        expected = {path for path in files if found & {path, *path.parents}}
        patterns = Patterns.read(pattern)
        assert {path for path in files if patterns.has(path.relative_to(root).as_posix())} == expected
        for path in expected:
            above = [f"{parent.relative_to(root).as_posix()}/" for parent in path.parents if root in parent.parents]
            assert all(map(patterns.has, above))
