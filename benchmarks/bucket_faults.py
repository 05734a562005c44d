"""How long requests to a bucket take that throttles, is silent, cuts its answers or refuses credentials, on SeaweedFS.

    python -m benchmarks.bucket_faults [--timeout SECONDS]

The table has the seconds until the error for a fault that does not end, and the number of requests until then.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator

from stowage.services.content.bucket import PART_BYTES, Bucket, BucketAddress
from stowage.services.errors import EngineError
from tests.faulty_bucket import Fault, FaultyBucket
from tests.seaweedfs import REGION, running_seaweed

FAULTS = {
    "503 SlowDown": Fault(status=503, code="SlowDown"),
    "no answer": Fault(hangs=True),
    "answers cut after 1,000 bytes": Fault(method="GET", cut=1000),
    "ExpiredToken": Fault(status=400, code="ExpiredToken"),
    "AccessDenied": Fault(status=403, code="AccessDenied"),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timeout", type=int, default=30, help="STOWAGE_CONTENT_TIMEOUT (default: as there)")
    options = parser.parse_args()
    with running_seaweed() as s3, FaultyBucket(s3).running() as proxy:
        os.environ.update(s3.environ())
        url = f"s3://{s3.create_bucket()}/store?endpoint={proxy.endpoint}&region={REGION}"
        show_faults(Bucket(BucketAddress.parse(url), timeout=options.timeout), proxy)


def show_faults(bucket: Bucket, proxy: FaultyBucket) -> None:
    bucket.put_parts("large", parts())
    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: bucket.get_range("large", 0, PART_BYTES),
        "small blob": lambda: bucket.put("small", b"small"),
        "large blob": lambda: bucket.put_parts("larger", parts()),
    }
    print(f"| the bucket's answer | {' | '.join(attempts)} |\n|---|{'---|' * len(attempts)}")
    for name, fault in FAULTS.items():
        cells = [outcome(attempt, proxy, fault) for attempt in attempts.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def outcome(attempt: Callable[[], object], proxy: FaultyBucket, fault: Fault) -> str:
    """The seconds and requests until the error; nothing if there was none."""
    proxy.fail(fault)
    before, began = len(proxy.seen), time.monotonic()
    try:
        attempt()
    except EngineError:
        return f"{time.monotonic() - began:.1f} s, {len(proxy.seen) - before}"
    finally:
        proxy.heal()
        fault.over.clear()
    return ""


def parts() -> Iterator[bytes]:
    yield from [bytes(PART_BYTES)] * 3


if __name__ == "__main__":
    main()
