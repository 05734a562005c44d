"""Signed requests: the example of the Amazon S3 API reference, and a server that checks them."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

from stowage.services.content.signature import Credentials, sign
from tests.seaweedfs import ADMIN, READER, UNLISTED, WRONG, Seaweed

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
