"""Partition patterns: which leading components of a key are made of primary-key values."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from datajoint_file.errors import ConfigurationError
from datajoint_file.model.key_values import KeyValue
from datajoint_file.model.names import encode_component


@dataclass(frozen=True, slots=True)
class PartitionPattern:
    """Where in a project objects go, by primary key: ``subject{subject_id}/session{session_id:03d}``.

    The text is literal, a placeholder names a primary-key attribute and may carry a Python format
    specification. A component with an attribute that a table's key lacks is left out for that table.

    Examples
    --------
    >>> pattern = PartitionPattern("subject{subject_id}/session{session_id:03d}")
    >>> key = (KeyValue("subject_id", "int", 123), KeyValue("session_id", "int", 45))
    >>> pattern.render(key)
    ('subject123', 'session045')
    >>> pattern.render(key[:1])
    ('subject123',)
    """

    text: str = ""

    def __post_init__(self) -> None:
        for component in self.components:
            for literal, name, spec, conversion in _parsed(component):
                if not literal.isprintable():
                    raise ConfigurationError("it holds control characters")
                if name is not None:
                    _check_placeholder(name, spec or "", conversion)
            if component in ("", ".", ".."):
                raise ConfigurationError(f"the component {component!r} is empty or has a meaning of its own")

    @property
    def components(self) -> tuple[str, ...]:
        """The pattern's parts between slashes (slashes in a format specification are not counted)."""
        return _split_outside_braces(self.text) if self.text else ()

    @property
    def placeholders(self) -> frozenset[str]:
        """Names of the attributes that the pattern mentions."""
        return frozenset(name for component in self.components for name in _names(component))

    def render(self, key: tuple[KeyValue, ...]) -> tuple[str, ...]:
        """Return the encoded components for a row with primary key *key*.

        Raises
        ------
        ConfigurationError
            If a value cannot be formatted as the pattern asks.
        """
        values = {value.name: value for value in key}
        return tuple(self._rendered(c, values) for c in self.components if values.keys() >= set(_names(c)))

    def _rendered(self, component: str, values: Mapping[str, KeyValue]) -> str:
        pieces = (
            literal + (self._formatted(values[name], spec or "") if name is not None else "")
            for literal, name, spec, _ in _parsed(component)
        )
        return encode_component("".join(pieces))

    def _formatted(self, value: KeyValue, spec: str) -> str:
        try:
            return format(value.value, spec) if spec else value.text
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f'[object_storage] partition_pattern = "{self.text}": {value.name} = {value.text} '
                f"cannot be formatted as {{{value.name}:{spec}}}: {error}"
            ) from error


def _split_outside_braces(text: str) -> tuple[str, ...]:
    components = [""]
    for part in re.findall(r"\{\{|\}\}|\{[^{}]*\}|.", text, re.DOTALL):  # doubled braces are literal ones
        if part == "/":
            components.append("")
        else:
            components[-1] += part
    return tuple(components)


def _parsed(component: str) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    try:
        yield from string.Formatter().parse(component)
    except ValueError as error:
        raise ConfigurationError(f"{component!r} is not a format string: {error}") from error


def _names(component: str) -> list[str]:
    return [name for _, name, _, _ in _parsed(component) if name is not None]


def _check_placeholder(name: str, spec: str, conversion: str | None) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigurationError(f"the placeholder {{{name}}} is not the name of an attribute")
    if conversion or "{" in spec:
        raise ConfigurationError(f"the placeholder {{{name}}} may have a plain format specification only")
