"""Where credentials for a bucket are found, in which order, and that they may be replaced while a service runs."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stowage.services.content.bucket import PART_BYTES, Bucket, BucketAddress
from stowage.services.content.bucket_keys import Credentials, sign
from stowage.services.content.bucket_uploads import list_uploads
from stowage.services.errors import Internal, Unsupported
from tests.conformance.certificates import certify
from tests.faulty_bucket import Fault, FaultyBucket
from tests.seaweedfs import ADMIN, READER, RENEWED, UNLISTED, WRONG, Seaweed

_EXPIRES = "2099-01-01T00:00:00Z"


class RoleServer:
    """Gives the key `key` as the service of a machine, as that of containers, and as one that web identities ask."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.key = ADMIN
        self.asked = 0
        roles = self

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                content = roles._answer(self).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_any  # noqa: N815 - names of http.server

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://localhost:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, asked: BaseHTTPRequestHandler) -> str:
        if asked.path == "/latest/api/token":
            return "a token"
        if asked.path == "/latest/meta-data/iam/security-credentials/":
            return "role"
        self.asked += 1
        if asked.command == "POST":
            fields = {"AccessKeyId": self.key.key_id, "SecretAccessKey": self.key.secret, "SessionToken": "", "Expiration": _EXPIRES}
            inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
            return (
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>"
                f"<Credentials>{inner}</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
            )
        given = {"AccessKeyId": self.key.key_id, "SecretAccessKey": self.key.secret, "Token": "", "Expiration": _EXPIRES}
        return json.dumps({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", **given})


@dataclass
class Source:
    """Somewhere a key is found; `give` replaces it."""

    give: Callable[[Credentials], None]


@pytest.fixture
def url(seaweedfs: Seaweed, bucket_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URL of a bucket; the environment has no key, and nothing of this machine is asked for one."""
    for name in seaweedfs.environ():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    return bucket_url


@pytest.fixture(params=["environment", "profile", "web identity", "container", "machine"])
def source(request: pytest.FixtureRequest, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Each place, which first gives the key of the administrator."""
    if request.param in ("environment", "profile"):
        give = in_environment(monkeypatch) if request.param == "environment" else in_profile(monkeypatch, tmp_path)
        give(ADMIN)
        yield Source(give)
        return
    roles = RoleServer(web_identities(tmp_path, monkeypatch) if request.param == "web identity" else None)
    (tmp_path / "token").write_text("the token of a workload")
    settings = {
        "web identity": {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ROLE_ARN": "arn:aws:iam::1:role/stowage",
            "AWS_ENDPOINT_URL_STS": roles.url,
        },
        "container": {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{roles.url}/key",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
        },
        "machine": {"AWS_METADATA_ENDPOINT": roles.url},
    }
    for name, value in settings[request.param].items():
        monkeypatch.setenv(name, value)
    yield Source(lambda key: setattr(roles, "key", key))
    assert roles.asked
    roles.close()


def in_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[Credentials], None]:
    def give(key: Credentials) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)

    return give


def in_profile(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[[Credentials], None]:
    monkeypatch.setenv("AWS_PROFILE", "images")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))

    def give(key: Credentials) -> None:
        (folder / "credentials").write_text(f"[images]\naws_access_key_id = {key.key_id}\naws_secret_access_key = {key.secret}\n")

    return give


def web_identities(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS of a server that this process trusts: obstore asks for web identities over nothing else."""
    certify(folder, "authority")
    certify(folder, "server", "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


@pytest.fixture
def faulty(seaweedfs: Seaweed) -> Iterator[FaultyBucket]:
    with FaultyBucket(seaweedfs).running() as proxy:
        yield proxy


@pytest.fixture
def proxied(source: Source, url: str, seaweedfs: Seaweed, faulty: FaultyBucket) -> Bucket:
    return Bucket(BucketAddress.parse(url.replace(seaweedfs.endpoint, faulty.endpoint)), timeout=10)


def parts(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number]) * PART_BYTES


def test_a_key_is_found_wherever_it_is(proxied: Bucket) -> None:
    proxied.put("some", b"bytes")
    assert proxied.get("some") == b"bytes"


def test_a_key_that_was_replaced_is_found_again_when_the_old_one_has_expired(proxied: Bucket, source: Source, faulty: FaultyBucket) -> None:
    proxied.put_parts("large", parts(2))
    source.give(RENEWED)
    assert proxied.get_range("large", 0, 5) == bytes(5)
    faulty.fail(Fault(key=ADMIN.key_id, status=400, code="ExpiredToken"))
    assert proxied.head("absent") is None
    assert proxied.get_range("large", PART_BYTES, 5) == b"\1" * 5
    proxied.put_parts("larger", parts(3))
    assert [found.size for page in proxied.list("") for found in page] == [2 * PART_BYTES, 3 * PART_BYTES]


def test_a_key_that_expires_in_the_middle_of_an_upload_is_replaced_for_the_next(
    proxied: Bucket, source: Source, faulty: FaultyBucket
) -> None:
    faulty.fail(Fault(key=ADMIN.key_id, skip=2, status=400, code="ExpiredToken"))
    source.give(ADMIN)

    def expiring() -> Iterator[bytes]:
        for part in parts(4):
            source.give(RENEWED)
            yield part

    with pytest.raises(Internal, match="the credentials have expired"):
        proxied.put_parts("large", expiring())
    assert proxied.head("large") is None
    proxied.put_parts("large", parts(4))


def test_the_environment_comes_first_and_the_profile_before_roles(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roles = RoleServer()
    roles.key = WRONG
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{roles.url}/key")
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    in_profile(monkeypatch, tmp_path)(ADMIN)
    Bucket(BucketAddress.parse(url), timeout=10).put("some", b"bytes")
    in_profile(monkeypatch, tmp_path)(WRONG)
    in_environment(monkeypatch)(ADMIN)
    Bucket(BucketAddress.parse(url), timeout=10).put("some", b"bytes")
    assert roles.asked == 0
    roles.close()


def test_unfinished_uploads_are_listed_with_the_key_of_a_role_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seaweedfs: Seaweed
) -> None:
    roles = RoleServer()
    (tmp_path / "token").write_text("a token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{roles.url}/key")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    address = BucketAddress.parse(url)
    seaweedfs.request("POST", f"/{address.bucket}/{address.prefix}/blobs/begun", {"uploads": ""})
    assert [each.location for each in list_uploads(Bucket(address, timeout=10))] == ["blobs/begun"]
    roles.close()


def test_a_profile_that_does_not_exist_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(Internal, match="the profile absent of AWS_PROFILE has no credentials"):
        Bucket(BucketAddress.parse(url), timeout=10).head("some")


def test_a_profile_without_boto3_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "images")
    monkeypatch.setitem(sys.modules, "boto3", None)
    for name in [name for name in sys.modules if name.startswith(("botocore", "obstore.auth"))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unsupported, match=r"AWS_PROFILE needs boto3: install stowage\[s3-profiles\]"):
        Bucket(BucketAddress.parse(url), timeout=10).head("some")


_EXAMPLE = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


def test_the_signature_is_that_of_the_reference() -> None:
    headers = sign(
        _EXAMPLE,
        "us-east-1",
        "GET",
        host="examplebucket.s3.amazonaws.com",
        path="/",
        query={"lifecycle": ""},
        at=datetime(2013, 5, 24, tzinfo=UTC),
    )
    assert headers["authorization"].endswith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")


def test_secrets_are_not_shown() -> None:
    assert "EXAMPLEKEY" not in repr(_EXAMPLE)


def test_the_server_accepts_its_credentials_only(seaweedfs: Seaweed) -> None:
    bucket = seaweedfs.create_bucket()
    statuses = [seaweedfs.request("PUT", f"/{bucket}/a", payload=b"1", credentials=key)[0] for key in (ADMIN, UNLISTED, READER, WRONG)]
    assert statuses == [HTTPStatus.OK, HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.FORBIDDEN]


def test_the_server_lets_only_some_list(seaweedfs: Seaweed) -> None:
    bucket = seaweedfs.create_bucket()
    statuses = [seaweedfs.request("GET", f"/{bucket}", {"list-type": "2"}, credentials=key)[0] for key in (ADMIN, UNLISTED, WRONG)]
    assert statuses == [HTTPStatus.OK, HTTPStatus.FORBIDDEN, HTTPStatus.FORBIDDEN]


def test_the_server_keeps_what_it_has_acknowledged(own_seaweedfs: Seaweed) -> None:
    bucket = own_seaweedfs.create_bucket()
    own_seaweedfs.request("PUT", f"/{bucket}/a", payload=b"kept")
    own_seaweedfs.stop()
    own_seaweedfs.start()
    assert own_seaweedfs.request("GET", f"/{bucket}/a") == (HTTPStatus.OK, b"kept")
