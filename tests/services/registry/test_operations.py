"""Requests that are cancelled leave no thread and no socket, wherever they are."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, NotFound, RegistryFailure
from stowage.services.filters import Filters
from stowage.services.images.distribution import inspect_distribution
from stowage.services.images.import_ import import_url
from stowage.services.images.pull import pull_image
from stowage.services.images.push import push_image
from stowage.services.images.search import search_images
from stowage.services.oci.reference import Reference
from stowage.services.progress import Progress
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.operations import Operation
from stowage.services.system.auth import log_in
from stowage.services.transfer.retry import awaited
from tests.builders import put_image, simple_layout
from tests.engines import downloads
from tests.fake_registry import FakeRegistry
from tests.fake_registry.slow import Slowness
from tests.resources import held
from tests.waiting import poll

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

HEADS = [Slowness.DRIP_HEADERS, Slowness.STALL]


@dataclass(frozen=True)
class Asked:
    """A registry with an image that is here as well, and an engine that knows it."""

    engine: Engine
    registry: FakeRegistry
    reference: Reference
    layer: str
    manifest: str


@pytest.fixture(params=[pytest.param(False, id="plain"), pytest.param(True, id="TLS")])
def asked(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Asked]:
    with FakeRegistry(tls=request.param).serve() as registry:
        layout = simple_layout()
        reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
        layer = next(digest for digest, content in layout.blobs.items() if not content.startswith(b"{"))
        yield Asked(replace(engine, imports=downloads("127.0.0.0/8")), registry, reference, layer, layout.manifests[0]["digest"])


def search(asked: Asked) -> Iterator[Progress]:
    return awaited(lambda: search_images(asked.engine, f"{asked.registry.host}/app", filters=Filters()))


def login(asked: Asked) -> Iterator[Progress]:
    return awaited(lambda: log_in(asked.engine, Credentials("user", "p4ss", server_address=asked.registry.host)))


def inspect(asked: Asked) -> Iterator[Progress]:
    return awaited(lambda: inspect_distribution(asked.engine, str(asked.reference)))


def pull(asked: Asked) -> Iterator[Progress]:
    return pull_image(asked.engine, asked.reference)


def pull_every_tag(asked: Asked) -> Iterator[Progress]:
    return pull_image(asked.engine, asked.reference.trimmed())


def push(asked: Asked) -> Iterator[Progress]:
    put_image(asked.engine, str(asked.reference), simple_layout(label="other"))
    return push_image(asked.engine, asked.reference)


def import_(asked: Asked) -> Iterator[Progress]:
    return import_url(asked.engine, f"{asked.registry.base}/v2/team/app/blobs/{asked.layer}", message="")


def assert_leaving_ends_it(asked: Asked, slow: str, ask: Callable[[Asked], Iterator[Progress]], slowness: Slowness) -> None:
    """Begin what asks the registry and close it once the registry stalls; fail if its threads and sockets do not end.

    Another connection may be kept: two sockets and a thread of the registry. A request that goes on is as many, and a thread of its own.
    """
    threads, sockets = held()
    most = threads + 1, sockets + 2
    asked.registry.slow[asked.layer if slow == "layer" else asked.manifest if slow == "manifest" else slow] = slowness
    running = ask(asked)
    while not asked.registry.stalled.is_set():
        next(running)
    running.close()  # type: ignore[attr-defined]
    poll(lambda: all(now <= allowed for now, allowed in zip(held(), most, strict=True)))


@pytest.mark.parametrize("slowness", HEADS)
@pytest.mark.parametrize("slow", ["1", "manifest", "layer"])
def test_a_pull(asked: Asked, slow: str, slowness: Slowness) -> None:
    assert_leaving_ends_it(asked, slow, pull, slowness)


@pytest.mark.parametrize(
    ("slow", "ask"),
    [
        pytest.param("manifest", pull, id="manifest"),
        pytest.param("layer", pull, id="layer"),
        pytest.param("list", pull_every_tag, id="tags"),
        pytest.param("1", inspect, id="distribution"),
    ],
)
def test_a_body_that_drips(asked: Asked, slow: str, ask: Callable[[Asked], Iterator[Progress]]) -> None:
    assert_leaving_ends_it(asked, slow, ask, Slowness.DRIP)


@pytest.mark.parametrize("slowness", HEADS)
@pytest.mark.parametrize(
    ("slow", "ask"),
    [
        pytest.param("_ping", search, id="search"),
        pytest.param("", login, id="login"),
        pytest.param("1", inspect, id="distribution"),
        pytest.param("1", push, id="push"),
        pytest.param("uploads", push, id="upload"),
    ],
)
def test_other_questions(asked: Asked, slow: str, ask: Callable[[Asked], Iterator[Progress]], slowness: Slowness) -> None:
    if slow == "uploads":
        slow = ""  # the path ends with a slash
    assert_leaving_ends_it(asked, slow, ask, slowness)


@pytest.mark.parametrize("slowness", HEADS)
def test_a_token_server(asked: Asked, slowness: Slowness) -> None:
    asked.registry.auth = "bearer"
    assert_leaving_ends_it(asked, "token", pull, slowness)


@pytest.mark.parametrize("asked", [False], indirect=True, ids=["plain"])
@pytest.mark.parametrize("slowness", [*HEADS, Slowness.DRIP])
def test_an_import_from_a_url(asked: Asked, slowness: Slowness) -> None:
    assert_leaving_ends_it(asked, "layer", import_, slowness)


def test_a_connection_that_works_for_others_by_now_is_left_alone(asked: Asked) -> None:
    """It is kept, and used again: whoever ended the first operation must not end the second."""
    first, second = Operation(), Operation()
    with asked.engine.registry.repository(asked.reference) as repository:
        target = first.run(lambda: repository.resolve(asked.reference))
        asked.registry.slow[asked.manifest] = Slowness.DRIP
        brought: list[bytes] = []
        reading = threading.Thread(target=lambda: brought.append(second.run(lambda: repository.manifest(target))))
        reading.start()
        assert asked.registry.stalled.wait(10)
        first.cancel()
        reading.join(30)
    assert len(brought[0]) == target.size


def test_nothing_is_asked_after_cancelling(asked: Asked) -> None:
    operation = Operation()
    operation.cancel()
    with asked.engine.registry.repository(asked.reference) as repository, pytest.raises(RegistryFailure, match="context canceled"):
        operation.run(lambda: repository.resolve(asked.reference))
    assert asked.registry.requests == []


def test_a_failure_is_that_of_the_call() -> None:
    def fail() -> None:
        raise EngineError("words")

    with pytest.raises(EngineError, match="words"):
        list(awaited(fail))


@pytest.mark.parametrize("is_left", [pytest.param(True, id="the client leaves"), pytest.param(False, id="the call fails")])
def test_what_a_failed_call_has_read_is_freed_at_once(is_left: bool) -> None:
    class Page:
        """Something that weak references can refer to."""

    pages: list[weakref.ref[Page]] = []
    left = threading.Event()

    def call() -> None:
        page = Page()
        pages.append(weakref.ref(page))
        try:
            left.wait()
            raise RegistryFailure("unexpected EOF")
        except RegistryFailure as exc:
            failure = NotFound("no")  # a local name makes a cycle
            raise failure from exc

    gc.disable()
    try:
        waiting = awaited(call)
        assert next(waiting) == Progress()
        if is_left:
            waiting.close()
            left.set()
        else:
            left.set()
            with pytest.raises(NotFound):
                list(waiting)
        poll(lambda: pages[0]() is None)
    finally:
        gc.enable()
