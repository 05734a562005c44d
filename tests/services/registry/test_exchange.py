"""What goes to whom: credentials only to the registry itself, headers to every host that is asked for the repository."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stowage.services.errors import EngineError, RegistryFailure, Unauthorized
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.credentials import Credentials
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry, Fault

BLOB = Descriptor(mediatypes.OCI_LAYER_GZIP, Digest.of(b"layer"), 5)
PASSWORD = Credentials(username="user", password="p4ss")
IDENTITY_TOKEN = Credentials(identity_token="who-i-am")


def resolve(client: RegistryClient, reference: Reference, credentials: Credentials) -> None:
    with client.repository(reference, credentials=credentials) as repository:
        repository.resolve(reference)


def fetch_blob(client: RegistryClient, reference: Reference, credentials: Credentials) -> None:
    with client.repository(reference, credentials=credentials) as repository:
        repository.blob(BLOB)


def push(client: RegistryClient, reference: Reference, credentials: Credentials) -> None:
    with client.destination(reference, credentials=credentials) as destination:
        destination.has_blob(BLOB)


def inspect(client: RegistryClient, reference: Reference, credentials: Credentials) -> None:
    with client.repository(reference, credentials=credentials) as repository:
        repository.read(reference)


def log_in(client: RegistryClient, reference: Reference, credentials: Credentials) -> None:
    client.log_in(Credentials(credentials.username, credentials.password, credentials.identity_token, server_address=reference.domain))


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [pytest.param(PASSWORD, id="password"), pytest.param(IDENTITY_TOKEN, id="identity token")])
@pytest.mark.parametrize(
    ("ask", "path", "kind", "words"),
    [
        pytest.param(resolve, "1", RegistryFailure, "unexpected status from HEAD request to .*: 401 Unauthorized", id="manifest"),
        pytest.param(
            fetch_blob, str(BLOB.digest), RegistryFailure, "unexpected status from GET request to .*: 401 Unauthorized", id="blob"
        ),
        pytest.param(push, str(BLOB.digest), RegistryFailure, "unexpected status from HEAD request to .*: 401 Unauthorized", id="push"),
        pytest.param(inspect, "1", Unauthorized, "unauthorized: ", id="distribution inspect"),
        pytest.param(log_in, "", RegistryFailure, "login attempt to .* failed with status: 401 Unauthorized", id="login"),
    ],
)
def test_a_redirect_cannot_ask_for_the_credentials_of_the_registry(
    ask: Callable[[RegistryClient, Reference, Credentials], None],
    path: str,
    kind: type[EngineError],
    words: str,
    credentials: Credentials,
    auth: str,
) -> None:
    with FakeRegistry().serve() as registry, FakeRegistry(auth=auth, user="user:p4ss", identity_token="who-i-am").serve() as other:
        registry.blobs[str(BLOB.digest)] = b"layer"
        registry.keep_manifest("team/app", "1", mediatypes.OCI_MANIFEST, b"{}")
        registry.faults[path] = Fault.REDIRECTED
        registry.redirect_to = other.base
        reference = Reference.parse(f"{registry.host}/team/app:1")
        with pytest.raises(kind, match=words):
            ask(registry_client(insecure=("127.0.0.0/8",)), reference, credentials)
        assert other.requests
        assert not any(request.path == "/token" or "Authorization" in request.headers for request in other.requests)


def test_the_clients_own_headers_go_to_mirrors_too() -> None:
    with FakeRegistry().serve() as empty, FakeRegistry().serve() as mirror:
        mirror.keep_manifest("team/app", "1", mediatypes.OCI_MANIFEST, b"{}")
        client = registry_client(insecure=("127.0.0.0/8",), mirrors=(empty.base, mirror.base))
        reference = Reference.parse("team/app:1")
        with client.repository(reference, headers={"X-Meta-Team": "blue"}) as repository:
            repository.resolve(reference)
        assert [request.headers["X-Meta-Team"] for request in empty.requests + mirror.requests] == ["blue", "blue"]
