"""``datajoint-file du`` and ``tree``, on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datajoint as dj
import pytest
from click.testing import Result
from datajoint import settings as dj_settings

from datajoint_file.config import bindings
from tests.projects import Store, over_mysql
from tests.tables import recording_of

from .conftest import Run, write_configuration
