"""Pushes that a registry refuses, that are tried again, or that end before they are through."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    RegistryFailure,
    Unauthorized,
    Unsupported,
)
from stowage.services.images.push import push_image
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.progress import Detail, Progress
from stowage.services.registry.credentials import Credentials
from tests.builders import Layout, layers_of, make_layer, put_image, simple_layout
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_registry.uploads import UploadFault
from tests.services.images.pushes import push, served, texts, uploads


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        pytest.param(UploadFault.READ_ONLY, Unsupported, "error from registry: The operation is unsupported.", id="read-only"),
        pytest.param(UploadFault.DENIED, Forbidden, "error from registry: requested access to the resource is denied", id="denied"),
        pytest.param(
            UploadFault.REFUSED, RegistryFailure, "error from registry: provided digest did not match uploaded content", id="digest"
        ),
        pytest.param(UploadFault.NOWHERE, RegistryFailure, "the registry began an upload without a Location", id="no location"),
        pytest.param(
            UploadFault.BAD_DIGEST, InvalidContent, "invalid content digest in response: invalid checksum digest length", id="malformed"
        ),
    ],
)
def test_what_the_registry_refuses_is_told_in_its_words(
    engine: Engine, registry: FakeRegistry, fault: UploadFault, kind: type[EngineError], words: str
) -> None:
    name = f"{registry.host}/team/app:1"
    put_image(engine, name)
    registry.uploads.faults = [fault]
    with pytest.raises(kind) as raised:
        push(engine, name)
    assert str(raised.value) == words
    assert registry.tags("team/app") == []


def test_an_answer_that_names_another_digest_ends_the_push(engine: Engine, registry: FakeRegistry) -> None:
    name = f"{registry.host}/team/app:1"
    put_image(engine, name)
    registry.uploads.faults = [UploadFault.OTHER_DIGEST]
    with pytest.raises(InvalidContent, match="got digest sha256:[0-9a-f]{64}, expected sha256:"):
        push(engine, name)


def test_a_repository_that_is_not_open_is_denied(engine: Engine) -> None:
    with FakeRegistry(auth="bearer", user="me:secret").serve() as registry:
        name = f"{registry.host}/team/app:1"
        put_image(engine, name)
        with pytest.raises(Unauthorized) as raised:
            push(engine, name, credentials=Credentials("me", "wrong"))
    assert str(raised.value) == (
        "push access denied, repository does not exist or may require authorization: server message: insufficient_scope: "
        "authorization failed"
    )


def test_closing_the_stream_ends_a_stalled_upload(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = f"{registry.host}/team/app:1"
    image = layout.image([make_layer("big", 32 << 20)], compression="none")
    put_image(engine, name, layout, image)
    config = json.loads(layout.blobs[image["digest"]])["config"]["digest"]
    registry.blobs[config] = layout.blobs[config]
    registry.uploads.faults = [UploadFault.STALLED]
    lines = push_image(engine, Reference.parse(name))
    while not registry.stalled.is_set():
        next(lines)
    lines.close()
    registry.resume.set()
    assert registry.uploads.broken_off.wait(10)
    assert registry.tags("team/app") == []
    with engine.metadata.read() as tx:
        assert tx.sources.repositories([Digest.parse(digest) for digest in layout.blobs], registry=registry.host) == {}


class TestRetry:
    """A push over connections that break, stall and answer later; `push` leaves out what its lines say of advances only."""

    def publish(self, engine: Engine, registry: FakeRegistry, size: int = 4 << 20) -> tuple[str, Layout, str]:
        """An image with one plain layer, whose config is there already: its name, its layout, its layer."""
        layout = Layout()
        image = layout.image([make_layer("big", size)], compression="none")
        config = json.loads(layout.blobs[image["digest"]])["config"]["digest"]
        registry.blobs[config] = layout.blobs[config]
        name = f"{registry.host}/team/app:1"
        put_image(engine, name, layout, image)
        return name, layout, layers_of(layout, image)[0]["digest"]

    @pytest.mark.parametrize(
        ("fault", "sent"),
        [
            pytest.param(UploadFault.DROPPED, ["POST", "PUT", "PATCH", "PUT"], id="DROPPED"),
            pytest.param(UploadFault.RESET, ["POST", "PUT", "PATCH", "PUT"], id="RESET"),
            pytest.param(UploadFault.FORGOTTEN, ["POST", "PUT", "POST", "PUT"], id="FORGOTTEN"),
            pytest.param(UploadFault.SILENT_SUCCESS, ["POST", "PUT"], id="SILENT_SUCCESS"),
            pytest.param(UploadFault.BROKEN, ["POST", "PUT", "POST", "PUT"], id="BROKEN"),
            pytest.param(UploadFault.BUSY, ["POST", "PUT", "POST", "PUT"], id="BUSY"),
            pytest.param(UploadFault.NOT_NOW, ["POST", "POST", "PUT"], id="NOT_NOW"),
            pytest.param(UploadFault.SILENT, ["POST", "POST", "PUT"], id="SILENT"),
        ],
    )
    def test_a_blob_arrives_by_another_try(self, engine: Engine, registry: FakeRegistry, fault: UploadFault, sent: list[str]) -> None:
        name, layout, layer = self.publish(engine, registry)
        registry.uploads.faults = [fault]
        assert f"{layer[7:19]}: Pushed" in texts(push(engine, name))
        assert served(registry) == layout.blobs
        assert [line.partition(" ")[0] for line in uploads(registry)] == [*sent, "PUT"]

    @pytest.mark.parametrize("fault", [Fault.BUSY, Fault.SILENT, Fault.COME_BACK], ids=lambda fault: fault.name)
    @pytest.mark.parametrize("what", ["tag", "layer"])
    def test_a_question_is_asked_again(self, engine: Engine, registry: FakeRegistry, fault: Fault, what: str) -> None:
        name, layout, layer = self.publish(engine, registry)
        registry.passing["1" if what == "tag" else layer] = [fault]
        push(engine, name)
        assert served(registry) == layout.blobs

    @pytest.mark.parametrize(
        ("fault", "puts"),
        [pytest.param(UploadFault.MANIFEST_BUSY, 2, id="busy"), pytest.param(UploadFault.MANIFEST_LOST, 1, id="answer lost")],
    )
    def test_a_manifest_is_put_again_unless_it_is_there(
        self, engine: Engine, registry: FakeRegistry, fault: UploadFault, puts: int
    ) -> None:
        layout = simple_layout()
        registry.blobs |= {digest: content for digest, content in layout.blobs.items() if digest != layout.manifests[0]["digest"]}
        put_image(engine, f"{registry.host}/team/app:1", layout)
        registry.uploads.faults = [fault]
        push(engine, f"{registry.host}/team/app:1")
        assert registry.tags("team/app") == ["1"]
        assert uploads(registry) == ["PUT 1"] * puts

    def test_a_blob_is_tried_as_long_as_the_registry_has_more_of_it(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layout, _ = self.publish(engine, registry)
        registry.uploads.faults = [UploadFault.DROPPED, *[UploadFault.DROPPED_AGAIN] * 12]
        push(engine, name)
        assert served(registry) == layout.blobs

    def test_a_blob_of_which_the_registry_has_no_more_is_given_up(self, engine: Engine, registry: FakeRegistry) -> None:
        name, _, _ = self.publish(engine, registry)
        registry.uploads.faults = [UploadFault.FORGOTTEN] * 8
        with pytest.raises(RegistryFailure, match="failed to do request: Put "):
            push(engine, name)
        assert [line.partition(" ")[0] for line in uploads(registry)] == ["POST", "PUT"] * engine.limits.download_attempts
        assert registry.tags("team/app") == []

    def test_a_registry_that_asks_for_too_long_a_wait_gets_no_other_try(self, engine: Engine, registry: FakeRegistry) -> None:
        name, _, _ = self.publish(engine, registry)
        registry.uploads.faults = [UploadFault.COME_BACK_TOMORROW]
        with pytest.raises(RegistryFailure, match="429 Too Many Requests"):
            push(engine, name)
        assert len(uploads(registry)) == 2

    def test_a_registry_that_stalls_is_given_up_and_tried_again(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layout, _ = self.publish(engine, registry, 32 << 20)  # more than the sockets hold
        registry.uploads.faults = [UploadFault.STALLED]
        push(replace(engine, registry=registry_client(insecure=("127.0.0.0/8",), stall_seconds=0.2)), name)
        assert served(registry) == layout.blobs

    def test_a_pause_is_told_as_docker_does(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layout, layer = self.publish(engine, registry)
        registry.uploads.faults = [UploadFault.COME_BACK]
        lines = push(engine, name)
        assert Progress("Retrying in 1 second", layer[7:19], Detail()) in lines
        assert served(registry) == layout.blobs

    def test_closing_leaves_a_pause_at_once(self, engine: Engine, registry: FakeRegistry) -> None:
        name, _, _ = self.publish(engine, registry)
        registry.uploads.faults = [UploadFault.DROPPED]
        lines = push_image(replace(engine, limits=replace(engine.limits, retry_seconds=60.0)), Reference.parse(name))
        assert any(line.status.startswith("Retrying in ") for line in lines)
        asked = len(registry.requests)
        lines.close()
        assert next(lines, None) is None
        assert len(registry.requests) == asked
        assert registry.tags("team/app") == []

    def test_a_wrong_password_is_not_tried_again(self, engine: Engine) -> None:
        with FakeRegistry(auth="basic", user="me:secret").serve() as registry:
            name, _, _ = self.publish(engine, registry)
            with pytest.raises(EngineError):
                push(engine, name, credentials=Credentials("me", "wrong"))
        assert len(registry.requests) <= 4
