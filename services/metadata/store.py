"""The metadata store: rows, and the transactions that read and write them, on a database that SQLAlchemy knows.

A write transaction is serialised against every other one and durable when its context ends; an exception inside rolls
all of it back. A read transaction sees one state.

    image      name -> target descriptor: what `docker images` lists; an untagged image is named moby-dangling@<digest>
    blob       a digest whose file was whole and on disk when it was written; marked if it was found damaged since
    layer      facts of a compressed blob: digest and size of its uncompressed stream
    manifest   facts of an index, image manifest or artifact manifest, written when everything it needs is present
    edge       manifest -> child; a child without a blob row is absent (another platform of an index, a foreign layer)
    target     each target of an image, with what lists show of it: derived from the rows above, as are the two next
    reach      every digest below a target, present or not, and its own: who uses a blob, and what an image uses, are queries on it
    target_label  the labels of a target, by their hashes
    source     a repository of a registry that is known to hold a blob; removed with the blob
    event      what happened to an image, in the order of commits; the oldest are dropped
    layer_files  what is in a layer, as it was read at the first look; removed with the blob, and the oldest beyond a limit
    lease      keeps its blobs, and all that is reachable from them, from the sweep until it ends or expires
    intent, doomed  objects of a bucket that are being written, and that are to be removed: see objects.py
    store      one row: the id of the store, created with its tables and also kept in the content store; whether a folder has it; the
               number of targets, and when the last sweep ended

Invariants: an image's target has a manifest row; a manifest row has its blob row, and every child that is not a manifest, a referrer or
a foreign layer has a blob row; a blob row has its file, as long as only the engine changes files. Other changes are found by verify and by
readers of the file, and marked. Readers of rows ignore the mark; to writers a marked blob is absent.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, false, func, select, update

from stowage.services.errors import Internal, Unsupported
from stowage.services.metadata.board import SqlBoard
from stowage.services.metadata.clock import NANOSECONDS_NOW, NOW, ServerClock
from stowage.services.metadata.database import TIMEOUT_SECONDS, identify, open_engine, query, require_database, transaction, version
from stowage.services.metadata.events import Events
from stowage.services.metadata.graph import Graph
from stowage.services.metadata.images import Images
from stowage.services.metadata.layer_files import LayerFiles
from stowage.services.metadata.leases import Leases
from stowage.services.metadata.listing import Targets
from stowage.services.metadata.objects import Objects
from stowage.services.metadata.records import RowCounts
from stowage.services.metadata.rows import dump_platform
from stowage.services.metadata.sources import Sources
from stowage.services.metadata.table_checks import STEPS, find_problems, next_page, rebuild, store_number
from stowage.services.metadata.tables import image, store
from stowage.services.metadata.targets import Upkeep
from stowage.services.metadata.usage import Usage, count_rows, database_size
from stowage.services.meter import UNMETERED, StoreMeter, timed
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform

_log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction; the tables are valid until its context ends."""

    images: Images
    graph: Graph
    leases: Leases
    sources: Sources
    events: Events
    targets: Targets
    layer_files: LayerFiles
    usage: Usage
    objects: Objects


class MetadataStore:
    """Opens transactions on an SQLAlchemy URL whose tables exist: see `upgrade`.

    Raises Internal or OutOfSpace if the database fails, and Unavailable if it is unreachable or busy, or if it is not known whether a
    change was made: then nothing that the change may need may be removed.

    Connections are made on first use and never cross a fork: each process has its own. What a parent has compiled and read before it
    closes the store is available in its children. The newest `event_history` events are kept. `timeout` and `place` are those of
    `stowage.services.metadata.database.open_engine`.
    """

    def __init__(
        self, url: str, *, event_history: int, timeout: int = TIMEOUT_SECONDS, place: str = "", meter: StoreMeter = UNMETERED
    ) -> None:
        self._meter = meter
        self._open = partial(open_engine, url, timeout=timeout, place=place)
        self._event_history = event_history
        self._engines: dict[int, Engine] = {}
        self._unconnected: Engine | None = None
        self._engines_lock = threading.Lock()
        self._server_clock = ServerClock(lambda: query(self._engine(), lambda connection: connection.scalars(NANOSECONDS_NOW).one()))

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        with timed(self._meter.database_call, "read"), self._transaction(writes=False) as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        with timed(self._meter.database_call, "write"), self._transaction(writes=True) as tx:
            yield tx

    def version(self) -> object | None:
        """Equal to an earlier version only if no process has committed anything since then; None if that is not known.

        What is read after a version is at least as new as it.
        """
        return version(self._engine())

    def clock(self) -> int:
        """Nanoseconds since 1970 by the clock that all nodes share: that of PostgreSQL, or with SQLite that of the machine."""
        return self._server_clock() if self._engine().dialect.name == "postgresql" else time.time_ns()

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """`Objects.locations`, without a transaction."""
        return query(self._engine(), lambda connection: Objects(connection).locations(digests))

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        """`Objects.doomed`, without a transaction."""
        return query(self._engine(), lambda connection: Objects(connection).doomed(age=age, limit=limit))

    def store_id(self) -> str:
        """The id of this store: 32 hexadecimal characters, random, the same for its whole lifetime and in every copy."""
        with transaction(self._engine(), writes=False) as connection:
            identity: str = connection.scalars(select(store.c.id)).one()
            return identity

    def is_claimed(self) -> bool:
        """Whether a content folder or bucket is known to have the id."""
        with transaction(self._engine(), writes=False) as connection:
            return bool(connection.scalars(select(store.c.claimed)).one())

    def note_claim(self) -> bool:
        """Note that one has the id; returns whether none was known before."""
        with transaction(self._engine(), writes=True) as connection:
            return connection.execute(update(store).where(store.c.claimed == false()).values(claimed=True)).rowcount == 1

    def forget_claim(self) -> None:
        """Note that none has the id."""
        with transaction(self._engine(), writes=True) as connection:
            connection.execute(update(store).values(claimed=False))

    def identity(self) -> str:
        """Which database this is, in words that a copy of it elsewhere does not share."""
        with transaction(self._engine(), writes=False) as connection:
            return identify(connection)

    def size(self) -> int:
        """Bytes of the database itself on its disk."""
        with transaction(self._engine(), writes=False) as connection:
            return database_size(connection)

    def counts(self) -> RowCounts:
        """How much there is, counted in the database."""
        with transaction(self._engine(), writes=False) as connection:
            return count_rows(connection)

    def note_sweep(self) -> None:
        """Note that a sweep has ended now, by the database's clock."""
        with transaction(self._engine(), writes=True) as connection:
            connection.execute(update(store).values(swept_at=NOW))
        self._meter.swept()

    def check(self) -> None:
        """Raise what a transaction would raise now. Reads a row, and takes no lock that a writer waits for."""
        require_database(self._engine())
        self.store_id()

    def problems(self) -> list[str]:
        """A sentence for each thing that is damaged in the database itself, or whose recorded size does not match its rows."""
        with transaction(self._engine(), writes=False) as connection:
            return find_problems(connection)

    def recount(self) -> None:
        """Derive again what is derived from other rows, in short transactions, and mend what differs."""
        for column, mend in STEPS:
            after = ""
            while True:
                with transaction(self._engine(), writes=True) as connection:
                    page = next_page(connection, column, after)
                    if page:
                        mend(connection, page)
                if not page:
                    break
                after = page[-1]
        with transaction(self._engine(), writes=True) as connection:
            store_number(connection)

    def board(self) -> SqlBoard:
        """The board of all nodes; only on PostgreSQL."""
        return SqlBoard(self._engine)

    def close(self) -> None:
        """Close this process's idle connections; the next transaction opens new ones."""
        with self._engines_lock:
            if engine := self._engines.pop(os.getpid(), None):
                engine.dispose()
                self._unconnected = engine

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Transaction]:
        with transaction(self._engine(), writes=writes) as connection:
            upkeep = Upkeep(connection)
            events = Events(connection, self._event_history)
            yield Transaction(
                Images(connection, upkeep),
                Graph(connection, upkeep),
                Leases(connection),
                Sources(connection),
                events,
                Targets(connection, upkeep),
                LayerFiles(connection),
                Usage(connection, upkeep),
                Objects(connection),
            )
            upkeep.flush()
            events.flush()

    def _engine(self) -> Engine:
        # A parent's engine stays referenced in its child: if collected there, it would close files that the parent is using.
        engine = self._engines.get(os.getpid())
        if engine is None:
            with self._engines_lock:
                engine = self._engines.get(os.getpid()) or self._unconnected or self._open()
                self._engines[os.getpid()], self._unconnected = engine, None
        return engine


def is_current(url: str, platform: Platform | None = None, *, timeout: int = TIMEOUT_SECONDS, place: str = "") -> bool:
    """Whether the tables exist, at the newest revision this version knows, and their lists prefer this platform, if one is given.

    Costs one query, and loads nothing that a migration needs. Raises Unavailable, Unsupported and InvalidParameter if the database cannot
    be used.
    """
    engine = open_engine(url, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=False) as connection:
            (found,) = connection.exec_driver_sql("SELECT version_num, platform FROM alembic_version, store").all()
    except Internal:
        return False
    finally:
        engine.dispose()
    newest = max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
    return found.version_num == newest and (platform is None or found.platform == dump_platform(platform))


def upgrade(url: str, platform: Platform, *, timeout: int = TIMEOUT_SECONDS, place: str = "", change_platform: bool = False) -> None:
    """Create the tables, or upgrade them to the newest revision, in one transaction.

    Lists prefer the platform of the store: this one if it has none yet, or with `change_platform`, which derives again what lists show.
    Raises Unsupported, and changes nothing, if the tables have a revision that only a newer Stowage knows.
    """
    # Imported here: a service migrates in a separate process, so it does not need this itself.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    engine = open_engine(url, timeout=timeout, place=place)
    try:
        with transaction(engine, writes=True, migrates=True) as connection:
            for revision in MigrationContext.configure(connection).get_current_heads():
                if revision not in known:
                    raise _unsupported(revision, oldest=min(known))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            preferred = connection.scalar(select(store.c.platform))
            if preferred is None or (change_platform and preferred != dump_platform(platform)):
                _derive_all(connection, platform)
    finally:
        engine.dispose()


def _unsupported(revision: str, *, oldest: str) -> Unsupported:
    if revision < oldest:
        return Unsupported(
            f"this store was written by a Stowage that is too old (revision {revision}): start the version before this one on it first"
        )
    return Unsupported(f"this store was written by a newer Stowage (revision {revision}); use that version or a newer one")


def _derive_all(connection: Connection, platform: Platform) -> None:
    """Derive everything again, and say so if there are images: it may take a while, in which nothing else is shown."""
    images = connection.scalar(select(func.count(image.c.target.distinct())))
    if images:
        _log.warning("deriving the lists of %d images; the store is not available until that is done", images)
    rebuild(connection, platform)
    if images:
        _log.info("derived the lists of %d images", images)
