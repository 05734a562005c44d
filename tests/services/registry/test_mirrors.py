"""Mirrors of docker.io."""

from __future__ import annotations

from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference
from stowage.services.registry.protocol import Credentials
from tests.builders import Layout
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry
from tests.services.registry.clients import INSECURE, target


class TestMirrors:
    """docker.io's mirrors are asked first; the last endpoint's word counts."""

    def resolve(self, *mirrors: str) -> Descriptor:
        reference = Reference.parse("team/app:1")
        with registry_client(insecure=INSECURE, mirrors=mirrors).repository(reference) as repository:
            return repository.resolve(reference)

    def test_the_first_that_has_the_image_answers(self, layout: Layout) -> None:
        with FakeRegistry().serve() as empty, FakeRegistry().serve() as mirror:
            mirror.publish(layout, layout.manifests[0])
            mirrored = self.resolve("http://127.0.0.1:1", empty.base, mirror.base)
            assert mirrored == target(layout)
            assert [request.query for request in empty.requests + mirror.requests] == [{"ns": ["docker.io"]}] * 2

    def test_credentials_for_docker_hub_are_not_sent_to_a_mirror(self, layout: Layout) -> None:
        with FakeRegistry().serve() as mirror:
            mirror.publish(layout, layout.manifests[0])
            reference = Reference.parse("team/app:1")
            credentials = Credentials(username="user", password="p4ss")
            with registry_client(insecure=INSECURE, mirrors=(mirror.base,)).repository(reference, credentials=credentials) as repository:
                repository.resolve(reference)
            assert "Authorization" not in mirror.requests[0].headers
