"""Text, JSON and YAML: plain values, of which each is read as one value and no other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from datajoint_file.errors import FormatError, UnsafeContentError, brief

MOST_NODES = 1_000_000
"""So many values a YAML document may have, unless it has more letters: aliases repeat what they stand for."""


def save_txt(text: str, path: Path) -> None:
    """Write text as UTF-8, line ends as they are."""
    path.write_bytes(text.encode())


def load_txt(stream: BinaryIO) -> str:
    """Read text."""
    return stream.read().decode()


def save_json(value: Any, path: Path) -> None:
    """Write what JSON has a form for; not NaN and infinity, which it has not."""
    path.write_bytes(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode())


def load_json(stream: BinaryIO) -> Any:
    """Read JSON, of which some parsers take one thing and others another: none of that."""
    return json.loads(
        stream.read().decode(), parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_without_duplicates
    )


def save_yaml(value: Any, path: Path) -> None:
    """Write plain values."""
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    path.write_bytes(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True).encode())


def load_yaml(stream: BinaryIO) -> Any:
    """Read YAML: plain values, no tags that make others; aliases do not make more than memory has.

    ``1:30`` is a text, as in YAML 1.2. In 1.1 it was a number to the base of 60, and a long one took minutes.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)
            return self.DEFAULT_SCALAR_TAG if _is_sexagesimal(tag, value) else tag

    text = stream.read().decode()
    loader = Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > max(MOST_NODES, len(text)):
            raise UnsafeContentError("its aliases make more than a million values of it")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node of YAML stands for, aliases written out; names that come twice are refused."""
    if id(node) not in known:
        known[id(node)] = 0
        if isinstance(node.value, list):
            is_mapping = bool(node.value) and isinstance(node.value[0], tuple)
            if is_mapping:
                _refuse_duplicates([(key.tag, str(key.value)) for key, _ in node.value])
            children = [child for pair in node.value for child in pair] if is_mapping else node.value
            known[id(node)] = 1 + sum(_counted(child, known) for child in children)
        else:
            if _is_sexagesimal(node.tag, node.value):
                raise FormatError(f"{brief(node.value)} is no number of YAML 1.2")
            known[id(node)] = 1
    return known[id(node)]


def _counted(node: Any, known: dict[int, int]) -> int:
    count = _count(node, known)
    if not count:
        raise UnsafeContentError("it contains itself")
    return count


def _is_sexagesimal(tag: Any, value: Any) -> bool:
    return tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and ":" in value


def _no_number(text: str) -> NoReturn:
    raise FormatError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise FormatError(f"{brief(text)} is too large a number")
    return number


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_duplicates([name for name, _ in pairs])
    return dict(pairs)


def _refuse_duplicates(names: list[Any]) -> None:
    if len(set(names)) < len(names):
        raise FormatError("a name stands twice in it, with two values")
