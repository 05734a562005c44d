"""The client against a registry that answers well, badly, and from elsewhere."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack

import pytest

from stowage.services.errors import EngineError, Forbidden, InvalidContent, NotFound, RegistryFailure
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry.credentials import Credentials
from tests.builders import Layout, make_layer
from tests.engines import registry_client
from tests.fake_registry import Answer, FakeRegistry, Fault
from tests.services.registry.clients import INSECURE, JSON, errors, opened, target


def layer_of(layout: Layout) -> Descriptor:
    digest = next(iter(layout.blobs))
    return Descriptor(mediatypes.OCI_LAYER_GZIP, Digest.parse(digest), len(layout.blobs[digest]))


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        pytest.param(None, ["HEAD 1"], id="digest and length in the headers"),
        pytest.param(Fault.NO_DIGEST, ["HEAD 1", "GET 1"], id="no digest in the headers"),
        pytest.param(Fault.UNSIZED, ["HEAD 1", "GET 1"], id="no length"),
        pytest.param(Fault.ENDLESS_LENGTH, ["HEAD 1", "GET 1"], id="a length that is no number"),
        pytest.param(Fault.NO_HEAD, ["HEAD 1", "GET 1"], id="no HEAD"),
        pytest.param(Fault.GENERAL_TYPE, ["HEAD 1", "GET 1"], id="a general Content-Type"),
    ],
)
def test_a_tag_is_resolved_to_its_descriptor(registry: FakeRegistry, layout: Layout, fault: Fault | None, asked: list[str]) -> None:
    registry.publish(layout, layout.manifests[0])
    registry.faults = {"1": fault} if fault else {}
    with ExitStack() as stack:
        repository, reference = opened(registry, stack)
        assert repository.resolve(reference) == target(layout)
    assert registry.asked() == asked


def test_a_digest_is_resolved_whatever_the_tag(registry: FakeRegistry, layout: Layout) -> None:
    registry.publish(layout, layout.manifests[0])
    with ExitStack() as stack:
        repository, reference = opened(registry, stack)
        assert repository.resolve(reference.with_digest(target(layout).digest)) == target(layout)
    assert registry.asked() == [f"HEAD {target(layout).digest}"]


REFERENCE = 'failed to resolve reference "{host}/team/app:1": '


UNKNOWN = f"unknown: {REFERENCE}"


REFUSED = "unexpected status from HEAD request to http://{host}/v2/team/app/manifests/1: "


UNANSWERED = 'failed to do request: Head "http://{host}/v2/team/app/manifests/1": '


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        pytest.param(Fault.ABSENT, NotFound, REFERENCE + "{host}/team/app:1: not found", id="404"),
        pytest.param(Fault.UNAUTHORIZED, RegistryFailure, UNKNOWN + REFUSED + "401 Unauthorized", id="401"),
        pytest.param(Fault.FORBIDDEN, Forbidden, "error from registry: requested access to the resource is denied", id="403"),
        pytest.param(Fault.TOO_MANY_REQUESTS, RegistryFailure, UNKNOWN + REFUSED + "429 Too Many Requests", id="429"),
        pytest.param(Fault.BROKEN, RegistryFailure, UNKNOWN + REFUSED + "500 Internal Server Error", id="500"),
        pytest.param(Fault.HTML, InvalidContent, "unsupported media type text/html", id="a page"),
        pytest.param(
            Fault.MALFORMED_DIGEST,
            InvalidContent,
            '"sha256:../x" in header not a valid digest: invalid checksum digest length',
            id="bad digest",
        ),
        pytest.param(Fault.OVERSIZED, NotFound, REFERENCE + "rejecting {size} byte manifest for {host}/team/app:1: not found", id="5 MiB"),
        pytest.param(Fault.ENDLESS_REDIRECT, RegistryFailure, REFERENCE + UNANSWERED + "stopped after 10 redirects", id="redirect loop"),
        pytest.param(Fault.SILENT, RegistryFailure, REFERENCE + UNANSWERED + "EOF", id="silent"),
        pytest.param(
            Fault.SCHEMA1,
            InvalidContent,
            "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of "
            "{host}/team/app:1 to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. "
            "More information at https://docs.docker.com/go/deprecated-image-specs/",
            id="schema 1",
        ),
    ],
)
def test_what_cannot_be_resolved_is_told_in_dockers_words(
    registry: FakeRegistry, layout: Layout, fault: Fault, kind: type[EngineError], words: str
) -> None:
    registry.publish(layout, layout.manifests[0])
    registry.faults["1"] = fault
    with ExitStack() as stack:
        repository, reference = opened(registry, stack)
        with pytest.raises(kind) as raised:
            repository.resolve(reference)
    assert str(raised.value) == words.format(host=registry.host, size=target(layout).size + (5 << 20))


def test_an_oversized_manifest_without_a_length_is_read_no_further_than_the_limit(registry: FakeRegistry, layout: Layout) -> None:
    registry.publish(layout, layout.manifests[0])
    registry.manifests["team/app", "1"] = registry.manifests["team/app", "1"].padded(5 << 20)
    registry.faults["1"] = Fault.UNSIZED
    with ExitStack() as stack:
        repository, reference = opened(registry, stack)
        with pytest.raises(NotFound, match="rejecting 4194305 byte manifest"):
            repository.resolve(reference)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        pytest.param(Fault.WRONG_BYTES, InvalidContent, "unexpected digest sha256:.*, expected sha256:", id="other bytes"),
        pytest.param(Fault.SHORT_BODY, InvalidContent, "failed size validation", id="too short"),
        pytest.param(Fault.LONG_BODY, InvalidContent, "failed size validation", id="too long"),
        pytest.param(Fault.OVERSIZED, InvalidContent, "failed size validation", id="5 MiB"),
        pytest.param(Fault.DROPPED, RegistryFailure, "unexpected EOF", id="dropped"),
    ],
)
def test_a_manifest_by_digest_is_verified(
    registry: FakeRegistry, layout: Layout, fault: Fault, kind: type[EngineError], words: str
) -> None:
    registry.publish(layout, layout.manifests[0])
    registry.faults[str(target(layout).digest)] = fault
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(kind, match=words):
            repository.manifest(target(layout))


@pytest.mark.parametrize(
    ("fault", "offset", "begins"),
    [
        pytest.param(None, 0, 0, id="from the beginning"),
        pytest.param(None, 7, 7, id="from an offset"),
        pytest.param(Fault.NO_RANGES, 7, 0, id="a registry without ranges"),
        pytest.param(Fault.OTHER_RANGE, 7, 0, id="another range"),
        pytest.param(Fault.UNSIZED, 0, 0, id="without a length"),
    ],
)
def test_a_blob_comes_from_where_its_stream_says(
    registry: FakeRegistry, layout: Layout, fault: Fault | None, offset: int, begins: int
) -> None:
    registry.publish(layout, layout.manifests[0])
    blob = layer_of(layout)
    registry.faults = {str(blob.digest): fault} if fault else {}
    with ExitStack() as stack:
        stream = opened(registry, stack)[0].blob(blob, offset=offset)
        assert stream.offset == begins
        assert b"".join(stream) == layout.blobs[str(blob.digest)][begins:]
        stream.close()


FRAME = "failed to copy: httpReadSeeker: failed open: "


STATUS = FRAME + "unexpected status from GET request to {url}: "


UNASKED = FRAME + 'failed to do request: Get "{url}": '


REFUSALS = [
    pytest.param(Answer(500, b"<html>"), RegistryFailure, "unknown: " + STATUS + "500 Internal Server Error", id="500"),
    pytest.param(Answer(503), RegistryFailure, "unknown: " + STATUS + "503 Service Unavailable", id="503"),
    pytest.param(Answer(401), RegistryFailure, "unknown: " + STATUS + "401 Unauthorized", id="401"),
    pytest.param(Answer(400, b"{}", JSON), RegistryFailure, "error from registry: " + STATUS + "400 Bad Request", id="400 without errors"),
    pytest.param(Answer(400, b'{"errors": "x"}', JSON), RegistryFailure, "unknown: " + STATUS + "400 Bad Request", id="errors of no kind"),
    pytest.param(Answer(403, errors("DENIED", message="not you")), Forbidden, "error from registry: not you", id="denied"),
    pytest.param(Answer(429, errors("TOOMANYREQUESTS", message="slow")), RegistryFailure, "error from registry: slow", id="429"),
    pytest.param(Answer(403, b'{"details": "who"}'), Forbidden, "requested access to the resource is denied - who", id="403 of old"),
    pytest.param(Fault.SILENT, RegistryFailure, UNASKED + "EOF", id="silent"),
    pytest.param(Fault.ENDLESS_REDIRECT, RegistryFailure, UNASKED + "stopped after 10 redirects", id="redirect loop"),
]


def refusing(registry: FakeRegistry, digest: str, how: Answer | Fault) -> None:
    if isinstance(how, Answer):
        registry.answers[digest] = how
    else:
        registry.faults[digest] = how


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        *REFUSALS,
        pytest.param(
            Fault.ABSENT, NotFound, FRAME + "could not fetch content descriptor {digest} ({type}) from remote: not found", id="404"
        ),
    ],
)
def test_a_blob_that_cannot_be_had_is_told_in_dockers_words(
    registry: FakeRegistry, layout: Layout, how: Answer | Fault, kind: type[EngineError], words: str
) -> None:
    registry.publish(layout, layout.manifests[0])
    blob = layer_of(layout)
    refusing(registry, str(blob.digest), how)
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(EngineError) as raised:
            repository.blob(blob)
    url = f"{registry.base}/v2/team/app/blobs/{blob.digest}"
    told = words.replace("{url}", url).replace("{digest}", str(blob.digest)).replace("{type}", blob.media_type)
    assert (type(raised.value), str(raised.value)) == (kind, told)


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [*REFUSALS, pytest.param(Fault.ABSENT, NotFound, FRAME + "content at {url} not found: not found", id="404")],
)
def test_a_manifest_that_cannot_be_had_is_told_in_dockers_words(
    registry: FakeRegistry, layout: Layout, how: Answer | Fault, kind: type[EngineError], words: str
) -> None:
    registry.publish(layout, layout.manifests[0])
    refusing(registry, str(target(layout).digest), how)
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(EngineError) as raised:
            repository.manifest(target(layout))
    told = words.replace("{url}", f"{registry.base}/v2/team/app/manifests/{target(layout).digest}")
    assert (type(raised.value), str(raised.value)) == (kind, told)


def test_a_blob_that_breaks_off_is_told_in_dockers_words(registry: FakeRegistry, layout: Layout) -> None:
    registry.publish(layout, layout.manifests[0])
    blob = layer_of(layout)
    registry.faults[str(blob.digest)] = Fault.DROPPED
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure) as raised:
            b"".join(repository.blob(blob))
    assert (str(raised.value), raised.value.retry_after) == ("failed to copy: unexpected EOF", 0)


@pytest.mark.parametrize(("how", "retry_after"), [(Answer(503), 0), (Answer(429, headers={"Retry-After": "7"}), 7), (Answer(400), None)])
def test_the_words_leave_whether_another_try_may_help(
    registry: FakeRegistry, layout: Layout, how: Answer, retry_after: float | None
) -> None:
    registry.answers[str(layer_of(layout).digest)] = how
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure) as raised:
            repository.blob(layer_of(layout))
    assert raised.value.retry_after == retry_after


def test_a_foreign_layer_comes_whole_from_a_host_without_ranges(registry: FakeRegistry) -> None:
    content = make_layer("base")
    digest = Digest.of(content)
    with FakeRegistry(blobs={str(digest): content}, faults={str(digest): Fault.UNKNOWN_RANGE}).serve() as elsewhere, ExitStack() as stack:
        media_type = "application/vnd.docker.image.rootfs.foreign.diff.tar"
        blob = Descriptor(media_type, digest, len(content), urls=(f"{elsewhere.base}/v2/x/blobs/{digest}",))
        client = registry_client(insecure=INSECURE, foreign_hosts=(elsewhere.host,))
        stream = stack.enter_context(client.repository(Reference.parse(f"{registry.host}/team/app:1"))).blob(blob, offset=7)
        assert (stream.offset, b"".join(stream)) == (0, content)
        stream.close()


@pytest.mark.parametrize("tls", [pytest.param(False, id="plain"), pytest.param(True, id="TLS")])
def test_closing_a_stream_wakes_the_thread_that_reads_it(layout: Layout, tls: bool) -> None:
    with FakeRegistry(tls=tls).serve() as registry, ExitStack() as stack:
        registry.publish(layout, layout.manifests[0])
        blob = layer_of(layout)
        registry.faults[str(blob.digest)] = Fault.STALLED
        stream = opened(registry, stack)[0].blob(blob)
        failures: list[Exception] = []

        def read() -> None:
            try:
                b"".join(stream)
            except RegistryFailure as exc:
                failures.append(exc)

        reader = threading.Thread(target=read)
        reader.start()
        registry.stalled.wait(10)
        stream.close()
        reader.join(10)
        assert not reader.is_alive()
        assert len(failures) == 1


def test_a_redirect_to_another_host_takes_no_secret_along(layout: Layout) -> None:
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry, FakeRegistry().serve() as other, ExitStack() as stack:
        registry.publish(layout, layout.manifests[0])
        other.publish(layout, layout.manifests[0])
        blob = layer_of(layout)
        registry.faults[str(blob.digest)] = Fault.REDIRECTED
        registry.redirect_to = other.base
        credentials = Credentials(username="user", password="p4ss")
        repository, _ = opened(registry, stack, credentials=credentials, headers={"X-Meta-Team": "blue"})
        assert b"".join(repository.blob(blob, offset=3)) == layout.blobs[str(blob.digest)][3:]
        sent, redirected = registry.requests[-1].headers, other.requests[-1].headers
        assert (sent["X-Meta-Team"], "Authorization" in sent) == ("blue", True)
        assert redirected["Range"] == "bytes=3-"
        assert not {"Authorization", "X-Meta-Team"} & redirected.keys()


def test_the_query_of_a_redirect_is_not_told(layout: Layout) -> None:
    with FakeRegistry().serve() as registry, FakeRegistry().serve() as other, ExitStack() as stack:
        registry.publish(layout, layout.manifests[0])
        blob = layer_of(layout)
        other.blobs[str(blob.digest)] = b""
        other.faults[str(blob.digest)] = Fault.BROKEN
        registry.faults[str(blob.digest)] = Fault.REDIRECTED
        registry.redirect_to = other.base
        with pytest.raises(RegistryFailure) as raised:
            opened(registry, stack)[0].blob(blob)
        assert other.host in str(raised.value)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        pytest.param("http://[::1", "failed to parse Location header", id="open bracket"),
        pytest.param("file:///etc/passwd", "unsupported protocol scheme", id="file"),
        pytest.param("http://127.0.0.1:99999", "no valid host in request URL", id="port too large"),
    ],
)
def test_a_redirect_to_what_is_no_url_is_refused(layout: Layout, location: str, words: str) -> None:
    blob = Descriptor.from_json(layout.manifests[0])
    with FakeRegistry().serve() as registry:
        reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
        registry.redirect_to = location
        registry.faults[str(blob.digest)] = Fault.REDIRECTED
        with registry_client(insecure=INSECURE).repository(reference) as repository, pytest.raises(RegistryFailure, match=words):
            repository.manifest(blob)


def test_no_request_asks_for_encoded_bytes(registry: FakeRegistry, layout: Layout) -> None:
    registry.publish(layout, layout.manifests[0])
    with ExitStack() as stack:
        repository, reference = opened(registry, stack)
        repository.manifest(repository.resolve(reference))
    assert {request.headers["Accept-Encoding"] for request in registry.requests} == {"identity"}


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_unverified_tls_is_for_insecure_registries_only(layout: Layout) -> None:
    with FakeRegistry(tls=True).serve() as registry:
        reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
        with registry_client(insecure=INSECURE).repository(reference) as repository:
            assert repository.resolve(reference) == target(layout)
        with (
            registry_client().repository(reference) as repository,
            pytest.raises(RegistryFailure, match="tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        ):
            repository.resolve(reference)


def test_plain_http_is_for_insecure_registries_only(registry: FakeRegistry, layout: Layout) -> None:
    reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
    with registry_client().repository(reference) as repository, pytest.raises(RegistryFailure, match="failed to do request: Head"):
        repository.resolve(reference)
    assert registry.requests == []


def test_a_registry_that_does_not_listen_is_told_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        reference = Reference.parse(f"{host}/x:y")
        with registry_client(insecure=INSECURE).repository(reference) as repository, pytest.raises(RegistryFailure) as raised:
            repository.resolve(reference)
    url = f"https://{host}/v2/x/manifests/y"
    assert (
        str(raised.value)
        == f'failed to resolve reference "{host}/x:y": failed to do request: Head "{url}": dial tcp {host}: connect: connection refused'
    )


def test_layers_are_not_decoded_on_the_way(registry: FakeRegistry) -> None:
    layout = Layout()
    descriptor = layout.image([make_layer("a", 1 << 20)], compression="gzip")
    registry.publish(layout, descriptor)
    blob = layer_of(layout)
    with ExitStack() as stack:
        assert b"".join(opened(registry, stack)[0].blob(blob)) == layout.blobs[str(blob.digest)]
