"""A file whose row is on its way to the database is not taken back: the commit may arrive after its client has given up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from stowage.services.engine import Engine
from stowage.services.intake.ingest import _has_row
from stowage.services.oci.digest import Digest
from tests.engines import ON_EVERY_DATABASE

pytestmark = ON_EVERY_DATABASE
DIGEST = Digest.of(b"blob")


def test_a_writer_that_finds_a_file_waits_for_those_that_may_record_it(engine: Engine) -> None:
    with engine.content.publish({DIGEST: b"blob"}):
        pass
    with ThreadPoolExecutor() as pool:
        with engine.metadata.write() as tx:
            tx.graph.add_blob(DIGEST, 4, 1)
            waiting = pool.submit(_has_row, engine, DIGEST)
            with suppress(TimeoutError):
                waiting.result(timeout=0.5)  # who only reads has an answer now
        assert waiting.result()


def test_without_a_file_nobody_waits(engine: Engine) -> None:
    with engine.metadata.write(), ThreadPoolExecutor() as pool:
        assert not pool.submit(_has_row, engine, DIGEST).result()
