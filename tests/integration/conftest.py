"""Fixtures of tests that need a database and a store together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import datajoint as dj
import pytest

import datajoint_file
from tests.projects import Store, unique


@pytest.fixture
def pipeline_with_partition(instance: dj.Instance, store: Store) -> Iterator[Callable[[str], tuple[Any, Store]]]:
    """Give an empty schema whose pipeline partitions as asked, and its store."""
    made = []

    def make(pattern: str) -> tuple[Any, Store]:
        datajoint_file.configure(store.configuration(pattern), connection=instance)
        made.append(instance.Schema(unique("schema")))
        return made[-1], store

    yield make
    for schema in made:
        schema.drop(prompt=False)
