"""Readers of sound: duration, rate, channels, and an outline made of short stretches."""

from __future__ import annotations

import io
import wave as pcm
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, cast

import numpy as np

from datajoint_file.model.wording import counted
from datajoint_file.preview.shown import Outline, Preview
from datajoint_file.preview.stream import Metered, Subject

_STRETCHES = 60
_STRETCH_BYTES = 16 * 1024
_WIDTHS = {2: "<i2", 4: "<i4"}


def wave(stream: Metered, subject: Subject) -> Preview:
    """Show a WAV file, by Python itself if it knows its kind."""
    try:
        with pcm.open(cast("Any", stream), "rb") as file:
            return _pcm(file, subject, stream.tell())
    except (pcm.Error, EOFError):
        if stream.is_spent or stream.failure is not None:
            raise
    stream.seek(0)
    return sound(stream, subject)


def sound(stream: Metered, subject: Subject) -> Preview:
    """Show a file of FLAC, Ogg, or another kind that libsndfile knows."""
    import soundfile

    with soundfile.SoundFile(_Quiet(stream)) as file:

        def peak(first: int, count: int) -> float:
            file.seek(first)
            values = file.read(count, dtype="float32", always_2d=True)
            return float(np.nan_to_num(np.abs(values), nan=0.0, posinf=1.0).max(initial=0.0))

        return _shown(subject, file.frames, file.samplerate, file.channels, str(file.subtype), peak)


class _Quiet(io.RawIOBase):
    """A file that ends where it cannot be read: libsndfile prints errors of its callbacks. *stream* remembers them."""

    def __init__(self, stream: Metered) -> None:
        self.seek, self.tell = stream.seek, stream.tell  # type: ignore[method-assign]
        self._stream = stream

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* as far as there are bytes."""
        with suppress(Exception):
            return self._stream.readinto(buffer)
        return 0


def _pcm(file: pcm.Wave_read, subject: Subject, start: int) -> Preview:
    channels, width, rate, stated, *_ = file.getparams()
    frames = min(stated, (subject.size - start) // max(channels * width, 1))  # a header says what it likes

    def peak(first: int, count: int) -> float:
        file.setpos(first)
        return _greatest(file.readframes(count), width)

    return _shown(subject, frames, rate, channels, f"{8 * width} bit", peak)


def _greatest(data: bytes, width: int) -> float:
    """Return the greatest amplitude of samples, 1 being what their width allows."""
    if width == 1:
        values: Any = np.frombuffer(data, "u1").astype("i2") - 128
    elif width == 3:
        values = np.frombuffer(data[2 : len(data) // 3 * 3 : 3], "i1")  # the first byte of each, the last as stored
    else:
        values = np.frombuffer(data[: len(data) // width * width], _WIDTHS[width])
    greatest = float(np.abs(values.astype("float64")).max(initial=0.0))
    return greatest / 2.0 ** (8 * (1 if width == 3 else width) - 1)


def _shown(
    subject: Subject, frames: int, rate: int, channels: int, kind: str, peak: Callable[[int, int], float]
) -> Preview:
    length = timedelta(seconds=round(frames / max(rate, 1), 3))
    facts = (str(length).rstrip("0") if "." in str(length) else str(length), f"{rate:,} Hz", kind)
    count = min(_STRETCHES, frames)
    stretch = max(1, min(frames // max(count, 1), _STRETCH_BYTES // (4 * max(channels, 1))))
    peaks = tuple(min(peak(frames * number // count, stretch), 1.0) for number in range(count))
    said = (*facts, counted(channels, "channel"))
    return Preview(subject.name, said, (Outline(peaks),) if peaks else ())
