"""A pickler that sends exceptions as Dask does: with what caused them and what was being handled."""

from __future__ import annotations

import io
import pickle
from typing import Any

from tblib.pickling_support import pickle_exception, pickle_traceback


class PicklerWithCauses(pickle.Pickler):
    """Pickles what an exception was raised from and in, and its traceback, along with it (tblib's way)."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, BaseException):
            return pickle_exception(value)
        return pickle_traceback(value) if type(value).__name__ == "traceback" else NotImplemented


def pickled_with_causes(error: BaseException) -> bytes:
    buffer = io.BytesIO()
    PicklerWithCauses(buffer, pickle.HIGHEST_PROTOCOL).dump(error)
    return buffer.getvalue()
