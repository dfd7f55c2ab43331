"""Tuning constants of transfers over a network: how many at a time, how large, and in how much memory.

One place to change them; who reads them decides nothing else by them.
"""

from __future__ import annotations

from datetime import timedelta

MIB = 2**20

MEMORY_BYTES = 48 * MIB
"""For all transfers of a process. With what the clients copy on their way, it stays below 64 MiB more than it had."""

WORKERS = 16
"""Objects to send or fetch at a time, through fsspec."""

OBSTORE_WORKERS = 64
"""Objects to send or fetch at a time, through obstore: 32 fall behind at 30 ms, more gain nothing that was measured."""

CONNECTIONS = 32
"""Connections that fsspec's client for S3 keeps: for objects, and parts of them."""

RANGES = 4
"""Parts of one object to fetch at a time."""

RANGE_SIZE = 4 * MIB
"""Bytes of one request for a part of an object that is held in memory. What is smaller takes one for the whole."""

STREAM_SIZE = 32 * MIB
"""Bytes of one request where they are written as they come: the store has less to do than for many small ones."""

PART_SIZE = 16 * MIB
"""The most that fsspec sends in one request, as long as that makes not too many parts."""

PARTS_IN_FLIGHT = 4
"""Parts that are under way to S3 while the next is read: more fill a slow connection, fewer take less memory."""

OBSTORE_PART_SIZE = 5 * MIB
"""Bytes of a part through obstore, the least that S3 takes: many in flight are faster than large ones."""

MAX_SKEW = timedelta(minutes=5)
"""More than this between two clocks, and what goes by time goes wrong; S3 refuses requests at 15 minutes."""
