"""The same on PostgreSQL, whose plans depend on what it knows of its tables: the rows that each request reads are counted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from benchmarks.growth import fill, requests, send
from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.images.delete import delete_image
from stowage.services.images.load import load_image
from stowage.services.images.save import save_images
from stowage.services.metadata.store import upgrade
from tests.blueprints.test_growth import LISTS_ALL, PAGES, SCANS, counting
from tests.builders import Layout, make_layer
from tests.engines import PLATFORM, metadata_store, real_engine
from tests.fake_registry import FakeRegistry
from tests.postgresql import Cluster
from tests.services.images.pulls import pull
from tests.services.images.pushes import push
from tests.waiting import poll

SMALL, LARGE = 40, 1000
ROWS = 10
"""How many rows and index entries a statement reads in the mean, roughly."""
NEVER, WHILE_SMALL, ALWAYS = "never analyzed", "analyzed while small", "analyzed"
CHOOSE_A_FEW = {"page, one image"}
"""What looks up a few of many parents, and scans instead while the tables are small."""
OWN = ("load, save and delete", "push, delete and pull")
SHARED = 20
"""How many statements fewer it takes if blobs that are complete at the same time share a transaction."""
ONE = [*(what for what, _ in requests(SMALL) if what not in LISTS_ALL | SCANS | PAGES | CHOOSE_A_FEW), *OWN]
"""What is about one image, or few."""

_READ = """SELECT (SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_user_tables)
+ (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes)"""
_OTHERS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"

Costs = dict[str, tuple[int, int]]
"""Per request the number of statements, and of the rows and index entries that they read."""


class Store:
    """A store in a database of its own, and what requests cost in it."""

    def __init__(self, cluster: Cluster, database: str, folder: Path) -> None:
        self._cluster, self._database = cluster, database
        url = cluster.create_database(database)
        upgrade(url, PLATFORM)
        self.engine = real_engine(metadata_store(url), FilesystemStore(folder), folder / "transfers")
        self._client = create_app(Config.from_environ({"STOWAGE_ROOT": str(folder)}), build=lambda _: self.engine).test_client()

    def grow(self, images: int, *, first: int = 0, analyze: bool) -> None:
        fill(self.engine.metadata, images, first=first)
        self._cluster.execute("VACUUM blob", self._database)  # until then its index of unused blobs has an entry for each that was one
        if analyze:
            self._cluster.execute("ANALYZE", self._database)

    def costs(self, images: int, registry: FakeRegistry) -> Costs:
        """The costs of every request, each on connections of its own, once what it compiles and reads first is there."""
        acts = {what: partial(send, self._client, several) for what, several in requests(images) if what not in LISTS_ALL}
        own = (partial(load_save_and_delete, self.engine), partial(push_delete_and_pull, self.engine, f"{registry.host}/new:1"))
        return {what: self._cost(act) for what, act in (acts | dict(zip(OWN, own, strict=True))).items()}

    def _cost(self, act: Callable[[], object]) -> tuple[int, int]:
        act()
        before = self._rows_read()
        with counting() as work:
            act()
        return work.statements, self._rows_read() - before

    def _rows_read(self) -> int:
        """A server process reports what it has read when it ends."""
        self.engine.metadata.close()
        poll(lambda: not self._cluster.execute(_OTHERS, self._database))
        return int(self._cluster.execute(_READ, self._database)[0][0])


def load_save_and_delete(engine: Engine) -> None:
    for _ in load_image(engine, io.BytesIO(new_image("new:1").to_tar())):
        pass
    for _ in save_images(engine, ["new:1"]):
        pass
    delete_image(engine, "new:1")


def push_delete_and_pull(engine: Engine, name: str) -> None:
    for _ in load_image(engine, io.BytesIO(new_image(name).to_tar())):
        pass
    push(engine, name)
    delete_image(engine, name)
    pull(engine, name.removesuffix(":1"))
    delete_image(engine, name)


def new_image(name: str) -> Layout:
    layout = Layout()
    layout.tag(layout.image([make_layer("one"), make_layer("two")]), name)
    return layout


@pytest.fixture(scope="module", params=[NEVER, WHILE_SMALL, ALWAYS])
def measured(
    request: pytest.FixtureRequest, postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Costs, Costs]]:
    """The costs in a small store and in the same one when it has become large, by when its statistics were made."""
    store = Store(postgresql, "growth", tmp_path_factory.mktemp("growth"))
    with closing(store.engine.metadata), FakeRegistry().serve() as registry:
        store.grow(SMALL, analyze=request.param == WHILE_SMALL)
        small = store.costs(SMALL, registry)
        store.grow(LARGE, first=SMALL, analyze=request.param == ALWAYS)
        large = store.costs(LARGE, registry)
    yield small, large
    postgresql.drop_database("growth")


@pytest.mark.parametrize("what", ONE)
def test_a_request_about_few_images_scans_no_table(measured: tuple[Costs, Costs], what: str) -> None:
    (statements, _), (statements_later, rows) = (costs[what] for costs in measured)
    assert abs(statements_later - statements) <= (SHARED if what in OWN else 0)
    assert rows <= ROWS * statements + LARGE // 4


@pytest.mark.parametrize("what", sorted(SCANS))
def test_a_scan_is_one_query(measured: tuple[Costs, Costs], what: str) -> None:
    (statements, _), (statements_later, rows_later) = (costs[what] for costs in measured)
    assert statements_later == statements
    assert rows_later <= 20 * LARGE
