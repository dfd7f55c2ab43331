"""Sound as ``(rate, array)``: WAV."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, BinaryIO

from datajoint_file.errors import FormatError


def save_wav(sound: tuple[Any, ...], path: Path) -> None:
    """Write samples; channels are columns."""
    from scipy.io import wavfile

    if len(sound) != 2 or type(sound[0]) is not int:
        raise FormatError("sound is (rate, array), and the rate a whole number")
    wavfile.write(path, *sound)


def load_wav(stream: BinaryIO) -> tuple[int, Any]:
    """Read samples, and their rate in Hz."""
    from scipy.io import wavfile

    with warnings.catch_warnings():  # chunks beside the samples are usual: titles, and what libsndfile adds to floats
        warnings.filterwarnings("ignore", r"Chunk \(non-data\) not understood", wavfile.WavFileWarning)
        rate, samples = wavfile.read(stream)
    return int(rate), samples.copy()
