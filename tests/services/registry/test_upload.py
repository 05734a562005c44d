"""Uploads to a registry that breaks off, forgets, sends elsewhere, or was wrong about what it has."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from stowage.services.errors import EngineError, RegistryFailure
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry.connections import PIECE
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.operations import Operation
from stowage.services.registry.upload import Destination, Upload
from tests.builders import digest_of
from tests.engines import registry_client
from tests.fake_registry import TOKEN, FakeRegistry
from tests.fake_registry.uploads import UploadFault

CONTENT = bytes(range(256)) * (12 << 10)
BLOB = Descriptor(mediatypes.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
HALF = len(CONTENT) // 2


@pytest.fixture
def destination(registry: FakeRegistry) -> Iterator[Destination]:
    with opened(registry) as destination:
        yield destination


def opened(registry: FakeRegistry, *, stall_seconds: float = 60, **options: object) -> AbstractContextManager[Destination]:
    client = registry_client(insecure=("127.0.0.0/8",), stall_seconds=stall_seconds)
    return client.destination(Reference.parse(f"{registry.host}/team/app:1"), **options)  # type: ignore[arg-type]


def begun(destination: Destination, *, advance: Callable[[int], None] = lambda _: None, mount_from: str = "") -> Upload:
    assert not destination.has_blob(BLOB)
    return destination.upload(BLOB, lambda: io.BytesIO(CONTENT), mount_from=mount_from, advance=advance)


def upload(destination: Destination, **options: Any) -> bool:
    return begun(destination, **options).proceed()


def methods(registry: FakeRegistry) -> list[str]:
    return [request.method for request in registry.requests]


def test_a_blob_goes_in_one_request(registry: FakeRegistry, destination: Destination) -> None:
    offsets: list[int] = []
    assert upload(destination, advance=offsets.append) is False
    assert registry.blobs == {str(BLOB.digest): CONTENT}
    assert methods(registry) == ["HEAD", "POST", "PUT"]
    put = registry.requests[-1]
    assert put.query == {"state": ["a/b"], "digest": [str(BLOB.digest)]}
    assert (put.headers["Content-Type"], put.headers["Content-Length"]) == ("application/octet-stream", str(len(CONTENT)))
    assert offsets == list(range(0, len(CONTENT) + 1, PIECE))


def test_an_empty_blob_is_a_blob(registry: FakeRegistry, destination: Destination) -> None:
    empty = Descriptor(mediatypes.OCI_LAYER, Digest.of(b""), 0)
    assert not destination.has_blob(empty)
    destination.upload(empty, lambda: io.BytesIO(b""), mount_from="", advance=lambda _: None).proceed()
    assert registry.blobs == {digest_of(b""): b""}


class TestAnotherTry:
    @pytest.mark.parametrize(
        ("fault", "asked"),
        [
            pytest.param(UploadFault.DROPPED, ["GET", "PATCH", "PUT"], id="goes on where the registry is"),
            pytest.param(UploadFault.RESET, ["GET", "PATCH", "PUT"], id="also after a reset"),
            pytest.param(UploadFault.FORGOTTEN, ["GET", "POST", "PUT"], id="begins again where the registry forgot"),
            pytest.param(UploadFault.BUSY, ["GET", "POST", "PUT"], id="begins again where nothing was taken"),
            pytest.param(UploadFault.SILENT, ["POST", "PUT"], id="begins where nothing had begun"),
        ],
    )
    def test_brings_the_rest(self, registry: FakeRegistry, destination: Destination, fault: UploadFault, asked: list[str]) -> None:
        registry.uploads.faults = [fault]
        started = begun(destination)
        with pytest.raises(RegistryFailure) as raised:
            started.proceed()
        assert raised.value.retry_after == 0
        registry.requests.clear()
        started.proceed()
        assert registry.blobs == {str(BLOB.digest): CONTENT}
        assert methods(registry) == asked

    def test_is_of_the_whole_blob_where_the_registry_tells_no_number(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.DROPPED, UploadFault.ENDLESS_RANGE]
        started = begun(destination)
        with pytest.raises(RegistryFailure):
            started.proceed()
        registry.requests.clear()
        started.proceed()
        assert methods(registry) == ["GET", "POST", "PUT"]
        assert registry.blobs == {str(BLOB.digest): CONTENT}

    def test_sends_only_what_lacks(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.DROPPED]
        offsets: list[int] = []
        started = begun(destination, advance=offsets.append)
        with pytest.raises(RegistryFailure):
            started.proceed()
        offsets.clear()
        started.proceed()
        patch = next(request for request in registry.requests if request.method == "PATCH")
        assert patch.headers["Content-Range"] == f"{HALF}-{len(CONTENT) - 1}"
        assert patch.headers["Content-Length"] == str(len(CONTENT) - HALF)
        assert started.offset == offsets[0] == HALF

    def test_tells_how_far_the_registry_has_come(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.DROPPED, *[UploadFault.DROPPED_AGAIN] * 3]
        started = begun(destination)
        reached = []
        for _ in range(4):
            with pytest.raises(RegistryFailure):
                started.proceed()
            reached.append(started.offset)
        assert reached == [0, HALF, HALF * 3 // 2, HALF * 7 // 4]

    def test_is_of_the_whole_blob_where_the_registry_refuses_the_rest(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.DROPPED, UploadFault.REST_REFUSED]
        started = begun(destination)
        for _ in range(2):
            with pytest.raises(RegistryFailure) as raised:
                started.proceed()
            assert raised.value.retry_after == 0
        registry.requests.clear()
        started.proceed()
        assert methods(registry) == ["POST", "PUT"]
        assert registry.blobs == {str(BLOB.digest): CONTENT}

    @pytest.mark.parametrize(
        ("fault", "seconds"),
        [
            pytest.param(UploadFault.COME_BACK, 1, id="soon"),
            pytest.param(UploadFault.COME_BACK_TOMORROW, 86400, id="tomorrow"),
            pytest.param(UploadFault.REFUSED, None, id="never"),
        ],
    )
    def test_waits_as_long_as_the_registry_asks(
        self, registry: FakeRegistry, destination: Destination, fault: UploadFault, seconds: float | None
    ) -> None:
        registry.uploads.faults = [fault]
        with pytest.raises(EngineError) as raised:
            upload(destination)
        assert raised.value.retry_after == seconds

    def test_of_a_blob_whose_answer_was_lost_is_not_needed(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.SILENT_SUCCESS]
        with pytest.raises(RegistryFailure, match="failed to do request: Put "):
            upload(destination)
        assert destination.has_blob(BLOB)


def test_a_registry_that_takes_nothing_is_given_up(registry: FakeRegistry) -> None:
    content = bytes(64 << 20)  # more than the sockets hold
    large = Descriptor(mediatypes.OCI_LAYER, Digest.of(content), len(content))
    registry.uploads.faults = [UploadFault.STALLED]
    with opened(registry, stall_seconds=0.2) as destination:
        destination.has_blob(large)  # whose connection is kept: its time for being made is not that of a piece
        with pytest.raises(RegistryFailure, match="timeout|timed out") as raised:
            destination.upload(large, lambda: io.BytesIO(content), mount_from="", advance=lambda _: None).proceed()
    assert raised.value.retry_after == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(UploadFault.BROKEN, "unexpected status from PUT request to {base}/v2/team/app/blobs/uploads/upload1: 500", id="500"),
        pytest.param(UploadFault.OTHER_DIGEST, "got digest sha256:", id="another digest"),
    ],
)
def test_an_answer_that_is_no_success_is_told(registry: FakeRegistry, destination: Destination, fault: UploadFault, words: str) -> None:
    registry.uploads.faults = [fault] * 3
    with pytest.raises(EngineError) as raised:
        upload(destination)
    assert words.format(base=registry.base) in str(raised.value)


class TestLocation:
    def test_another_host_gets_the_bytes_and_nothing_else(self) -> None:
        with FakeRegistry(auth="bearer", user="me:secret").serve() as registry, FakeRegistry().serve() as storage:
            registry.uploads.faults, registry.redirect_to = [UploadFault.ELSEWHERE], storage.base
            storage.uploads.running["upload1"] = b""
            with opened(registry, credentials=Credentials("me", "secret"), headers={"X-Meta-Build": "7"}) as destination:
                upload(destination)
        (put,) = storage.requests
        assert storage.blobs == {str(BLOB.digest): CONTENT}
        assert put.headers.keys() == {"Host", "Accept-Encoding", "Content-Length", "User-Agent", "Content-Type"}
        assert registry.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}"

    def test_plain_http_is_not_followed_from_tls(self) -> None:
        with FakeRegistry(tls=True).serve() as registry:
            registry.uploads.faults, registry.redirect_to = [UploadFault.ELSEWHERE], "http://registry.example"
            with opened(registry) as destination, pytest.raises(RegistryFailure, match="redirects from https to http"):
                upload(destination)

    def test_only_http_is_followed(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults, registry.redirect_to = [UploadFault.ELSEWHERE], "file://etc"
        with pytest.raises(RegistryFailure, match="unsupported protocol scheme"):
            upload(destination)


class TestAuthorization:
    def test_a_token_is_asked_for_pull_and_push(self) -> None:
        with (
            FakeRegistry(auth="bearer", user="me:secret").serve() as registry,
            opened(registry, credentials=Credentials("me", "secret")) as to,
        ):
            upload(to)
            scopes = [request.query["scope"] for request in registry.requests if request.path == "/token"]
        assert scopes == [["repository:team/app:pull,push"]]

    def test_a_token_that_is_wanted_in_the_middle_is_fetched(self, registry: FakeRegistry, destination: Destination) -> None:
        def content() -> io.BytesIO:
            registry.auth = "bearer"
            return io.BytesIO(CONTENT)

        destination.upload(BLOB, content, mount_from="", advance=lambda _: None).proceed()
        assert registry.blobs == {str(BLOB.digest): CONTENT}

    def test_a_mount_asks_for_the_other_repository_too(self, registry: FakeRegistry, destination: Destination) -> None:
        registry.uploads.faults = [UploadFault.MOUNT_DENIED]
        upload(destination, mount_from="other")
        scopes = [request.query["scope"] for request in registry.requests if request.path == "/token"]
        assert scopes == [["repository:other:pull", "repository:team/app:pull,push"]]

    @pytest.mark.parametrize(
        ("credentials", "words"),
        [
            pytest.param(None, "authorization failed: no basic auth credentials", id="none"),
            pytest.param(Credentials("me", "wrong"), "unexpected status from HEAD request", id="wrong"),
        ],
    )
    def test_basic_credentials_that_do_not_open(self, credentials: Credentials | None, words: str) -> None:
        with FakeRegistry(auth="basic", user="me:secret").serve() as registry, opened(registry, credentials=credentials) as destination:
            with pytest.raises(EngineError) as raised:
                upload(destination)
            assert words in str(raised.value)
            assert len(registry.requests) <= 4


class TestManifest:
    MANIFEST = Descriptor(mediatypes.OCI_INDEX, Digest.of(b'{"manifests":[]}'), 16)

    @pytest.mark.parametrize("tag", ["1", None])
    def test_a_manifest_is_put_as_it_is(self, registry: FakeRegistry, destination: Destination, tag: str | None) -> None:
        assert not destination.has_manifest(self.MANIFEST, tag=tag)
        destination.put_manifest(self.MANIFEST, b'{"manifests":[]}', tag=tag)
        assert registry.manifests["team/app", tag or str(self.MANIFEST.digest)].media_type == mediatypes.OCI_INDEX
        assert destination.has_manifest(self.MANIFEST, tag=tag)

    def test_a_tag_on_another_manifest_is_not_this_one(self, destination: Destination) -> None:
        assert not destination.has_manifest(self.MANIFEST)
        other = Descriptor(mediatypes.OCI_INDEX, Digest.of(b'{"manifests": []}'), 17)
        destination.put_manifest(other, b'{"manifests": []}', tag="1")
        assert not destination.has_manifest(self.MANIFEST, tag="1")


def test_cancelling_ends_an_upload_that_waits_for_the_registry(registry: FakeRegistry, destination: Destination) -> None:
    content = bytes(64 << 20)  # more than the sockets hold
    large = Descriptor(mediatypes.OCI_LAYER, Digest.of(content), len(content))
    registry.uploads.faults = [UploadFault.STALLED]
    failures: list[EngineError] = []
    operation = Operation()

    def run() -> None:
        try:
            destination.has_blob(large)
            destination.upload(large, lambda: io.BytesIO(content), mount_from="", advance=lambda _: None).proceed()
        except EngineError as error:
            failures.append(error)

    thread = threading.Thread(target=operation.run, args=(run,))
    thread.start()
    assert registry.stalled.wait(10)
    operation.cancel()
    thread.join(10)
    assert len(failures) == 1
    registry.resume.set()
    assert registry.uploads.broken_off.wait(10)
    assert registry.blobs == {}


def test_nothing_is_sent_after_cancelling(registry: FakeRegistry, destination: Destination) -> None:
    operation = Operation()
    operation.run(lambda: destination.has_blob(BLOB))
    operation.cancel()
    with pytest.raises(RegistryFailure, match="context canceled"):
        operation.run(lambda: upload(destination))
    assert registry.blobs == {}
