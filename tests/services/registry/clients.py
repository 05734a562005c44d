"""What tests of the registry client begin with."""

from __future__ import annotations

import json
from contextlib import ExitStack

from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference
from stowage.services.registry.repository import Repository
from tests.builders import Layout, simple_layout
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry

INSECURE = ("127.0.0.0/8",)


def opened(registry: FakeRegistry, stack: ExitStack, **options: object) -> tuple[Repository, Reference]:
    reference = Reference.parse(f"{registry.host}/team/app:1")
    return stack.enter_context(registry_client(insecure=INSECURE).repository(reference, **options)), reference  # type: ignore[arg-type]


def published(registry: FakeRegistry) -> Reference:
    """An image in the registry that a test need not know more about."""
    layout = simple_layout()
    return Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")


JSON = {"Content-Type": "application/json"}


def errors(code: str, **fields: object) -> bytes:
    return json.dumps({"errors": [{"code": code, **fields}]}).encode()


def target(layout: Layout) -> Descriptor:
    return Descriptor.from_json(layout.manifests[0] | {"annotations": {}})
