"""What is compared with what, and what is to come out.

The workloads come in two scales: ``full`` is measured, ``small`` only shows that everything runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from benchmarks.values import GIBI, KIBI, MEBI, Comparison, Contender, Place, Target, Workload

Scale = Literal["full", "small"]
SCALES: tuple[Scale, ...] = ("full", "small")

# Number and size of files; small ones are as small as they can be and still take the same way through the code.
_SIZES: dict[Scale, dict[str, tuple[int, int]]] = {
    "full": {
        "one": (1, GIBI),
        "large": (1, 512 * MEBI),
        "mid": (100, 10 * MEBI),
        "small": (2_000, 64 * KIBI),
        "many": (1_000, 64 * KIBI),
        "tiny": (5_000, 4 * KIBI),
        "clips": (20, 5 * MEBI),
        "notes": (500, 10 * KIBI),
        "few": (20, 50 * MEBI),
        "chunks": (10_000, 0),
        "members": (1_000_000, 0),
    },
    "small": {
        "one": (1, 12 * MEBI),
        "large": (1, 12 * MEBI),
        "mid": (3, 2 * MEBI),
        "small": (20, 64 * KIBI),
        "many": (20, 64 * KIBI),
        "tiny": (20, 4 * KIBI),
        "clips": (3, 2 * MEBI),
        "notes": (20, 10 * KIBI),
        "few": (3, 6 * MEBI),
        "chunks": (20, 0),
        "members": (2_000, 0),
    },
}
_ROUND_TRIPS_MS: dict[Scale, tuple[int, ...]] = {"full": (0, 10, 30), "small": (10,)}
_ROWS: dict[Scale, int] = {"full": 100_000, "small": 200}

OURS, OBJECT, ATTACH = "file", "<object@>", "<attach@>"
BOTH = "file, write both"
FSSPEC, UNSYNCED = "file, engine fsspec", "file, durability none"
LIMIT_COPY = "cp+sync ‖ openssl"
PUT, PUT_TASKS, PUT_THREADS = "obstore.put", "obstore.put, 64 tasks", "obstore.put, 32 threads"
GET_TASKS, GET_THREADS = "obstore.get, 64 tasks", "obstore.get, 32 threads"
PUT_64, GET_64, GET = "obstore.put, 64 threads", "obstore.get, 64 threads", "obstore.get, one stream"
S5CMD, RCLONE = "s5cmd cp", "rclone copyto"
COPY, RCLONE_ALL = "cp -r + sync", "rclone copy"
LOCAL_STORE, S3FS_ZARR, OBSTORE_ZARR = "zarr LocalStore", "zarr on s3fs", "zarr on obstore"
S3FS_FILE, S3FS_GET = "s3fs.get_file", "s3fs.get"
PLAIN_INSERT, JSON = "INSERT of JSON alone", "json attribute"

_OBSTORE = ("module obstore",)


def _inserting(name: str, attribute: str, storage: Mapping[str, Any] | None = None, *needs: str) -> Contender:
    options = {"attribute": attribute, "storage": dict(storage or {})}
    return Contender(name, "inserts:files", options, needs, is_ours=attribute == "file")


_INSERTS = (
    _inserting(OURS, "file"),
    _inserting(OBJECT, "object"),
    _inserting(ATTACH, "attach"),
)
_WITH_FSSPEC = _inserting(FSSPEC, "file", {"engine": "fsspec"}, "setting engine=fsspec")
_WITHOUT_SYNC = _inserting(UNSYNCED, "file", {"durability": "none"})


def all_comparisons(scale: Scale) -> list[Comparison]:
    """Return every comparison, in the order of the table."""
    return [
        _one_local(scale),
        _one_s3(scale),
        _mid_local(scale),
        _mid_s3(scale),
        _small_s3(scale),
        _tiny_local(scale),
        *(_mirrored(scale, kind) for kind in ("clips", "notes")),
        _fetch(scale),
        _download_one(scale),
        _download_small(scale),
        *_directories(scale),
        *_zarr(scale),
        _manifest(scale),
        *(comparison for each in _ROUND_TRIPS_MS[scale] for comparison in _from_afar(scale, each)),
    ]


def with_another(comparison: Comparison, checkout: str) -> Comparison:
    """Return the comparison with a turn more for each contender of ours, which measures another state of the package.

    Parameters
    ----------
    comparison : Comparison
        Which.
    checkout : str
        The directory that has the other ``datajoint_file``.
    """
    ours = [contender for contender in comparison.contenders if contender.is_ours]
    others = [replace(each, name=_before(each.name), is_ours=False, checkout=checkout) for each in ours]
    targets = (*(Target(each.name, (_before(each.name),)) for each in ours), *comparison.targets)
    return replace(comparison, contenders=(*comparison.contenders, *others), targets=targets)


def _before(name: str) -> str:
    return f"{name}, before"


def _workload(scale: Scale, place: Place, kind: str, round_trip_ms: int = 0) -> Workload:
    return Workload(place, *_SIZES[scale][kind], round_trip_ms)


def _one_local(scale: Scale) -> Comparison:
    limit = Contender(LIMIT_COPY, "programs:copy_and_hash", needs=("program openssl",))
    return Comparison(
        "insert-one-local",
        "insert {work}, disk",
        _workload(scale, "local", "one"),
        (_INSERTS[0], limit, *_INSERTS[1:]),
        (
            Target(OURS, (LIMIT_COPY,), at_most=1.25),
            Target(OURS, (OBJECT,), at_least=2),
            Target(OURS, (ATTACH,)),
        ),
    )


def _one_s3(scale: Scale) -> Comparison:
    others = (
        Contender(PUT, "obstores:upload_one", needs=_OBSTORE),
        Contender(RCLONE, "programs:rclone_upload", needs=("program rclone",)),
        Contender(S5CMD, "programs:s5cmd_upload", needs=("program s5cmd",)),
    )
    return Comparison(
        "insert-one-s3",
        "insert {work}, S3",
        _workload(scale, "s3", "one"),
        (_INSERTS[0], *others, _INSERTS[1]),
        (
            Target(OURS, (PUT,), at_most=1.15),
            Target(OURS, (RCLONE,), at_least=1),
            Target(OURS, (S5CMD,), at_least=1),
            Target(OURS, (OBJECT,)),
        ),
    )


def _mid_local(scale: Scale) -> Comparison:
    return Comparison(
        "insert-mid-local",
        "insert {work}, disk",
        _workload(scale, "local", "mid"),
        _INSERTS,
        (Target(OURS, (OBJECT,), at_least=1.2), Target(OURS, (ATTACH,))),
    )


def _mid_s3(scale: Scale) -> Comparison:
    return Comparison(
        "insert-mid-s3",
        "insert {work}, S3",
        _workload(scale, "s3", "mid"),
        _INSERTS,
        (Target(OURS, (OBJECT,)), Target(OURS, (ATTACH,))),
    )


def _small_s3(scale: Scale) -> Comparison:
    limits = (
        Contender(PUT_TASKS, "obstores:upload_by_tasks", needs=_OBSTORE),
        Contender(PUT_THREADS, "obstores:upload_by_threads", needs=_OBSTORE),
    )
    return Comparison(
        "insert-small-s3",
        "insert {work}, S3",
        _workload(scale, "s3", "small"),
        (_INSERTS[0], _WITH_FSSPEC, *limits, _INSERTS[1]),
        (
            Target(OURS, (PUT_TASKS, PUT_THREADS), at_most=1.25),
            Target(OURS, (OBJECT,), at_least=5),
            Target(FSSPEC, (OBJECT,), at_least=3),
        ),
    )


def _tiny_local(scale: Scale) -> Comparison:
    limit = Contender(PLAIN_INSERT, "inserts:plain_rows")
    return Comparison(
        "insert-tiny-local",
        "insert {work}, disk",
        _workload(scale, "local", "tiny"),
        (_INSERTS[0], _WITHOUT_SYNC, limit, *_INSERTS[1:]),
        (
            Target(OURS, (OBJECT,), at_least=1),
            Target(UNSYNCED, (OBJECT,), at_least=2),
            Target(OURS, (ATTACH,)),
            Target(UNSYNCED, (PLAIN_INSERT,)),
        ),
    )


def _mirrored(scale: Scale, kind: str) -> Comparison:
    both = Contender(BOTH, "inserts:in_both_places", {"attribute": "file"}, is_ours=True)
    targets = (Target(BOTH, (OURS,), at_most=2.5),)
    return Comparison(
        f"insert-{kind}-mirror",
        "insert {work}, two places",
        _workload(scale, "local", kind),
        (_INSERTS[0], both),
        targets,
    )


def _fetch(scale: Scale) -> Comparison:
    contenders = (
        Contender(OURS, "fetches:rows", {"attribute": "file"}, is_ours=True),
        Contender(JSON, "fetches:rows", {"attribute": "json"}),
        Contender(OBJECT, "fetches:rows", {"attribute": "object"}),
    )
    return Comparison(
        "fetch",
        "fetch {work}",
        Workload("local", _ROWS[scale]),
        contenders,
        (Target(OURS, (JSON,), at_most=1.3), Target(OURS, (OBJECT,), at_least=2.4)),
        prepare="fetches:prepare",
    )


def _download_one(scale: Scale) -> Comparison:
    contenders = (
        Contender(OURS, "downloads:one", is_ours=True),
        Contender(S5CMD, "programs:s5cmd_download", needs=("program s5cmd",)),
        Contender(RCLONE, "programs:rclone_download", needs=("program rclone",)),
        Contender(S3FS_FILE, "downloads:one_by_s3fs"),
    )
    return Comparison(
        "download-one-s3",
        "download {work}, S3",
        _workload(scale, "s3", "one"),
        contenders,
        (
            Target(OURS, (S5CMD,), at_most=1.8),
            Target(OURS, (RCLONE,), at_most=1.8),
            Target(OURS, (S3FS_FILE,), at_least=1.5),
        ),
        prepare="inserts:prepare",
    )


def _download_small(scale: Scale) -> Comparison:
    contenders = (
        Contender(OURS, "downloads:many", is_ours=True),
        Contender(GET_TASKS, "obstores:download_by_tasks", needs=_OBSTORE),
        Contender(GET_THREADS, "obstores:download_by_threads", needs=_OBSTORE),
        Contender(S3FS_GET, "downloads:many_by_s3fs"),
    )
    return Comparison(
        "download-small-s3",
        "download {work}, S3",
        _workload(scale, "s3", "small"),
        contenders,
        (
            Target(OURS, (GET_TASKS, GET_THREADS), at_most=1.3),
            Target(OURS, (S3FS_GET,), at_least=2.5),
        ),
        prepare="inserts:prepare",
    )


def _directories(scale: Scale) -> list[Comparison]:
    """Return what directories of many small files, and of few large ones, cost as one value."""
    ours = Contender(OURS, "inserts:directory", {"attribute": "file"}, is_ours=True)
    theirs = Contender(OBJECT, "inserts:directory", {"attribute": "object"})
    brought = Contender(OURS, "directories:download", is_ours=True)
    copy = Contender(COPY, "programs:copy_directory")
    copy_back = Contender(COPY, "programs:copy_stored_directory")
    put, get = Contender(PUT_TASKS, "obstores:upload_by_tasks", needs=_OBSTORE), "directories:download_by_obstore"
    up = (
        Contender(RCLONE_ALL, "programs:rclone_upload_directory", needs=("program rclone",)),
        Contender(S5CMD, "programs:s5cmd_upload_all", needs=("program s5cmd",)),
    )
    down = (
        Contender(GET_TASKS, get, needs=_OBSTORE),
        Contender(RCLONE_ALL, "programs:rclone_download_directory", needs=("program rclone",)),
        Contender(S5CMD, "programs:s5cmd_download_directory", needs=("program s5cmd",)),
    )
    found = []
    for kind in ("small", "few"):
        disk, bucket = _workload(scale, "local", kind), _workload(scale, "s3", kind)
        inserted, downloaded = f"insert-directory-{kind}", f"download-directory-{kind}"
        upward, downward = "insert a directory of {work}", "download a directory of {work}"
        prepare = "inserts:prepare_directory"
        found += [
            Comparison(
                f"{inserted}-local",
                f"{upward}, disk",
                disk,
                (ours, copy, theirs),
                (Target(OURS, (COPY,)), Target(OURS, (OBJECT,), at_least=1)),
            ),
            Comparison(
                f"{inserted}-s3",
                f"{upward}, S3",
                bucket,
                (ours, put, *up, theirs),
                (Target(OURS, (PUT_TASKS,), at_most=1.25), Target(OURS, (OBJECT,), at_least=1)),
            ),
            Comparison(
                f"{downloaded}-local",
                f"{downward}, disk",
                disk,
                (brought, copy_back),
                (Target(OURS, (COPY,), at_most=1.3),),
                prepare=prepare,
            ),
            Comparison(
                f"{downloaded}-s3",
                f"{downward}, S3",
                bucket,
                (brought, *down),
                (Target(OURS, (GET_TASKS,), at_most=1.3),),
                prepare=prepare,
            ),
        ]
    return found


def _zarr(scale: Scale) -> list[Comparison]:
    """Return what the whole of a Zarr array costs to read, verified and not."""
    ours = Contender(OURS, "zarrs:by_reference", is_ours=True)
    local = Contender(LOCAL_STORE, "zarrs:by_local_store")
    others = (Contender(S3FS_ZARR, "zarrs:by_s3fs"), Contender(OBSTORE_ZARR, "zarrs:by_obstore", needs=_OBSTORE))
    work = f"read a Zarr of {_SIZES[scale]['chunks'][0]:,} chunks of 64 KiB"
    return [
        Comparison(
            "zarr-local",
            f"{work}, disk",
            _workload(scale, "local", "chunks"),
            (ours, local),
            (Target(OURS, (LOCAL_STORE,), at_most=1.3),),
            prepare="zarrs:prepare",
        ),
        Comparison(
            "zarr-s3",
            f"{work}, S3",
            _workload(scale, "s3", "chunks"),
            (ours, *others),
            (Target(OURS, (OBSTORE_ZARR,), at_most=1.3), Target(OURS, (S3FS_ZARR,), at_least=1)),
            prepare="zarrs:prepare",
        ),
    ]


def _manifest(scale: Scale) -> Comparison:
    """Return what it costs to read the manifest of a very large directory, check it, and find a file in it."""
    return Comparison(
        "manifest-of-directory",
        f"find one of {_SIZES[scale]['members'][0]:,} files of a directory",
        _workload(scale, "local", "members"),
        (Contender(OURS, "directories:look_up", is_ours=True),),
        (Target(OURS, memory=200 * MEBI),),
        prepare="directories:prepare_manifest",
    )


def _from_afar(scale: Scale, round_trip_ms: int) -> list[Comparison]:
    """Return what is sent to, and fetched from, a store at a distance."""
    put_64 = Contender(PUT_64, "obstores:upload_by_threads", {"threads": 64}, _OBSTORE)
    get_64 = Contender(GET_64, "obstores:download_by_threads", {"threads": 64}, _OBSTORE)
    put = Contender(PUT, "obstores:upload_one", needs=_OBSTORE)
    get = Contender(GET, "obstores:download_one", needs=_OBSTORE)
    ours = {each: Contender(OURS, f"downloads:{each}", is_ours=True) for each in ("one", "many")}

    def compared(work: str, kind: str, mine: Contender, limit: Contender, program: str) -> Comparison:
        s5cmd = Contender(S5CMD, f"programs:{program}", needs=("program s5cmd",))
        at_most = 1.2 if kind == "large" and round_trip_ms == max(_ROUND_TRIPS_MS[scale]) else 1.25
        return Comparison(
            f"{work}-{kind}-s3-{round_trip_ms}ms",
            f"{work} {{work}}, S3, {round_trip_ms} ms",
            _workload(scale, "s3", kind, round_trip_ms),
            (mine, limit, s5cmd),
            (Target(OURS, (limit.name,), at_most=at_most), Target(OURS, (S5CMD,), at_least=1)),
            prepare="inserts:prepare" if work == "download" else "",
        )

    return [
        compared("insert", "many", _INSERTS[0], put_64, "s5cmd_upload_all"),
        compared("download", "many", ours["many"], get_64, "s5cmd_download_all"),
        compared("insert", "large", _INSERTS[0], put, "s5cmd_upload"),
        compared("download", "large", ours["one"], get, "s5cmd_download"),
    ]
