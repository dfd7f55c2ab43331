"""Traversal of HDF5: all objects that names, and references in data and attributes, lead to; none in another file.

What would be read of another file is looked for before anything is read of an object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, product
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5o, h5s, h5t, h5z

from datajoint_file.errors import FormatError, UnsafeContentError, brief
from datajoint_file.formats import limits
from datajoint_file.formats.limits import check_growth, unpacked_sizes

MOST_FOLLOWED = 1_000_000
"""So many references to regions, and in lists of any length, a file may have; each is followed by itself."""

_BLOCK = 2**17
_DIMENSIONS = 32  # the most of a dataset, for each of which netCDF 4 has a list of references in one attribute
_DEFLATE = 1032  # times as many bytes as are stored become of zeros
_OBJECTS = 8  # times the bytes of a reference has the object of Python that is made of it
_BYTES_OF_A_TEXT = 64  # of the object of Python that holds it


def check_self_contained(file: Any) -> None:
    """Raise if a file of HDF5, by path or open, takes anything from other files.

    Raises
    ------
    UnsafeContentError
        If it has external links, data in other files, or virtual datasets of other files, even where only a reference
        leads.
    """
    with h5py.File(file, "r") as opened:
        for _ in _datasets(opened):
            pass


def check_loadable(file: Any, stored: int) -> None:
    """Raise as `check_self_contained` does, and if *stored* bytes become too many: texts of any length are measured.

    Raises
    ------
    UnsafeContentError
        If so.
    """
    with h5py.File(file, "r") as opened:
        unpacked = 0
        for dataset in _datasets(opened):
            for size in _sizes(dataset, stored):
                unpacked += size
                check_growth(unpacked, stored)


def address(item: Any) -> int:
    """Return where in its file an object is, which is the same under all its names."""
    return int(h5o.get_info(item.id).addr)


def elsewhere(dataset: Any) -> str:
    """Say in which other files the data of a dataset are; nothing (``""``), if in none. Opens none of them."""
    made = dataset.id.get_create_plist()
    if made.get_external_count():
        return "has its data in another file"
    is_virtual = made.get_layout() == h5d.VIRTUAL
    if is_virtual and any(made.get_virtual_filename(i) != "." for i in range(made.get_virtual_count())):
        return "is made of other files"
    return ""


def _name(item: Any) -> str:
    return "what only a reference leads to" if item.name is None else brief(item.name)


def _datasets(root: Any) -> Iterator[Any]:
    """Give all datasets, each once. Names are followed first, so that few references lead to what is not known.

    Then names are followed again, for references: what is open takes memory, so nothing is kept open meanwhile.
    """
    seen = {address(root)}
    walked = set(seen)
    yield from _only_datasets(_named(root, seen))
    follow, roots = _References(seen), [root]
    while roots:
        for item in _named(roots.pop(), walked):
            for hidden in follow.all_of(item):
                yield from _only_datasets(_named(hidden, seen))
                walked.add(address(hidden))
                roots.append(hidden)


def _only_datasets(items: Iterator[Any]) -> Iterator[Any]:
    return (item for item in items if isinstance(item, h5py.Dataset))


def _named(root: Any, seen: set[int]) -> Iterator[Any]:
    """Give an object, and what names in it lead to and is not *seen* yet. A link is looked at before it is followed."""
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, h5py.Dataset) and (where := elsewhere(item)):
            raise UnsafeContentError(f"{_name(item)} in it {where}")
        yield item
        for name in item if isinstance(item, h5py.Group) else ():
            link = item.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):
                continue  # within the file: what it leads to is met there
            if not isinstance(link, h5py.HardLink):
                raise UnsafeContentError(f"{brief(name)} in it is a link to another file")
            member = item[name]
            if (place := address(member)) not in seen:
                seen.add(place)
                waiting.append(member)


class _References:
    """What references lead to that is not known yet.

    Those to objects are read as the addresses that they are, and looked up: there are files with millions of them.
    """

    def __init__(self, seen: set[int]) -> None:
        self._seen = seen
        self._left = MOST_FOLLOWED

    def all_of(self, item: Any) -> Iterator[Any]:
        """Give what references of an object and of its attributes lead to."""
        values = chain(_attributes(item), self._values(item) if isinstance(item, h5py.Dataset) else ())
        for reference in chain.from_iterable(map(_references, values)):
            self._left -= 1
            if self._left < 0:
                raise UnsafeContentError(f"it has more than {MOST_FOLLOWED} references that have to be followed")
            yield from self._followed(item, reference)

    def _followed(self, item: Any, reference: Any) -> Iterator[Any]:
        try:
            other = item.file[reference]
        except (KeyError, OSError, RuntimeError, ValueError):  # to nothing, for whoever follows it
            return
        if (place := address(other)) not in self._seen:
            self._seen.add(place)
            yield other

    def _values(self, dataset: Any) -> Iterator[Any]:
        """Give the values of a dataset whose references have to be followed."""
        kind = dataset.id.get_type()
        if dataset.shape is None or not _has_references(kind):
            return
        stored = dataset.file.id.get_filesize()
        check_growth(math.prod(dataset.shape) * kind.get_size(), stored)
        _check_chunks(dataset, stored)
        for block in _blocks(dataset.shape, _BLOCK):
            if _is_of_addresses(kind):
                yield from (dataset[place] for place in self._unknown(dataset, kind, block))
            else:
                yield from (dataset[place] for place in _blocks_of(block, _most_items(stored) // _OBJECTS))

    def _unknown(self, dataset: Any, kind: Any, block: tuple[slice, ...]) -> Iterator[tuple[int, ...]]:
        """Give the places in a block of which an address is not known, one for each address."""
        shape = tuple(part.stop - part.start for part in block)
        where = dataset.id.get_space()
        if shape:
            where.select_hyperslab(tuple(part.start for part in block), shape)
        for memory in _memory_types(kind):
            found = np.zeros((*shape, memory.get_size() // 8), "u8")
            dataset.id.read(h5s.create_simple(shape) if shape else h5s.ALL, where, found, memory)
            addresses, places = np.unique(found, return_index=True)
            for value, place in zip(addresses.tolist(), places.tolist(), strict=True):
                if value and value not in self._seen:
                    inside = np.unravel_index(place, found.shape)[:-1]
                    yield tuple(int(part.start + at) for part, at in zip(block, inside, strict=True))


def _attributes(item: Any) -> Iterator[Any]:
    """Give the values of attributes that have references; each is read as a whole, so none may have many lists."""
    most = max(_DIMENSIONS, _most_items(item.file.id.get_filesize()) // _OBJECTS)
    for name in item.attrs:
        attribute = item.attrs.get_id(name)
        if _has_references(kind := attribute.get_type()):
            if _has_variable_sizes(kind) and math.prod(attribute.shape) > most:
                raise UnsafeContentError(f"the attribute {brief(name)} in it has more than {most} lists of references")
            yield item.attrs[name]


def _has_references(kind: Any) -> bool:
    return bool(kind.detect_class(h5t.REFERENCE))


def _is_of_addresses(kind: Any) -> bool:
    """Tell whether all its references are those to objects, in compounds and arrays of fixed sizes."""
    if not _has_references(kind):
        return True
    if isinstance(kind, h5t.TypeCompoundID):
        return all(_is_of_addresses(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _is_of_addresses(kind.get_super())
    return isinstance(kind, h5t.TypeReferenceID) and bool(kind.equal(h5t.STD_REF_OBJ))


def _memory_types(kind: Any) -> Iterator[Any]:
    """Give types by which the addresses in values of a *kind* are read, and nothing else of them."""
    if isinstance(kind, h5t.TypeReferenceID):
        yield h5t.STD_REF_OBJ
    elif isinstance(kind, h5t.TypeArrayID):
        for part in _memory_types(kind.get_super()):
            yield h5t.array_create(part, kind.get_array_dims())
    elif isinstance(kind, h5t.TypeCompoundID):
        for i in range(kind.get_nmembers()):
            for part in _memory_types(kind.get_member_type(i)):
                whole = h5t.create(h5t.COMPOUND, part.get_size())
                whole.insert(kind.get_member_name(i), 0, part)
                yield whole


def _references(value: Any) -> Iterator[Any]:
    """Give the references in a value, however deep."""
    if isinstance(value, h5py.Reference):
        if value:
            yield value
    elif isinstance(value, np.ndarray | np.void) and value.dtype.names:
        for name in value.dtype.names:
            yield from _references(value[name])
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        for one in value.flat:
            yield from _references(one)


def _sizes(dataset: Any, stored: int) -> Iterator[int]:
    """Give what a dataset becomes, and what its texts and lists become, of which many can be one in the file."""
    if dataset.shape is None:
        return
    try:
        kind, size = dataset.id.get_type(), dataset.dtype.itemsize
    except TypeError as error:
        raise FormatError(f"the size of {_name(dataset)} is not known") from error
    yield math.prod(dataset.shape) * size
    _check_chunks(dataset, stored)
    if _has_variable_sizes(kind):
        for block in _blocks(dataset.shape, _most_items(stored)):
            yield _weight(dataset[block])


def _check_chunks(dataset: Any, stored: int) -> None:
    """Raise if a chunk becomes too large: HDF5 unpacks all of each, and not only so much as a chunk has.

    Only those are unpacked for it that could: of a chunk of 1 MiB Deflate makes no more than what any file may become.
    """
    made = dataset.id.get_create_plist()
    packed = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if packed.count(h5z.FILTER_DEFLATE) + packed.count(h5z.FILTER_LZF) > 1:
        raise UnsafeContentError(f"{_name(dataset)} in it is packed more than once, which hides how large it becomes")
    most = max(limits.ALWAYS, limits.RATIO * stored)
    if h5z.FILTER_DEFLATE not in packed or dataset.id.get_storage_size() * _DEFLATE <= most:
        return
    places: list[tuple[int, ...]] = []
    dataset.id.chunk_iter(lambda chunk: places.append(chunk.chunk_offset) if chunk.size * _DEFLATE > most else None)
    for place in places:
        unpacked = 0
        for size in unpacked_sizes(dataset.id.read_direct_chunk(place)[1]):
            check_growth(unpacked := unpacked + size, stored)


def _most_items(stored: int) -> int:
    """Return how many items of any length are read at once: each is in the file, so all become no more than it may."""
    return min(max(limits.RATIO, limits.ALWAYS // max(stored, 1)), _BLOCK)


def _has_variable_sizes(kind: Any) -> bool:
    if isinstance(kind, h5t.TypeStringID):
        return bool(kind.is_variable_str())
    if isinstance(kind, h5t.TypeCompoundID):
        return any(_has_variable_sizes(kind.get_member_type(i)) for i in range(kind.get_nmembers()))
    if isinstance(kind, h5t.TypeArrayID):
        return _has_variable_sizes(kind.get_super())
    return isinstance(kind, h5t.TypeVlenID)


def _weight(value: Any) -> int:
    """Return how many bytes are behind the pointers in a value."""
    if isinstance(value, bytes | str):
        return len(value) + _BYTES_OF_A_TEXT
    if not isinstance(value, np.ndarray | np.void) or not value.dtype.hasobject:
        return int(getattr(value, "nbytes", 0)) + _BYTES_OF_A_TEXT
    if value.dtype.names:
        return sum(_weight(value[name]) for name in value.dtype.names)
    return sum(map(_weight, value.flat)) if isinstance(value, np.ndarray) else 0


def _blocks(shape: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Give parts of an array, of at most so many items each.

    Examples
    --------
    >>> list(_blocks((2, 3), 3))
    [(slice(0, 1, None), slice(0, 3, None)), (slice(1, 2, None), slice(0, 3, None))]
    """
    return _blocks_of(tuple(slice(0, side) for side in shape), most)


def _blocks_of(whole: tuple[slice, ...], most: int) -> Iterator[tuple[slice, ...]]:
    steps: list[int] = []
    for side in reversed(whole):
        steps.insert(0, max(1, min(side.stop - side.start, most)))
        most //= steps[0]
    starts = (range(side.start, side.stop, step) for side, step in zip(whole, steps, strict=True))
    for corner in product(*starts):
        ends = (min(at + step, side.stop) for at, step, side in zip(corner, steps, whole, strict=True))
        yield tuple(slice(at, end) for at, end in zip(corner, ends, strict=True))
