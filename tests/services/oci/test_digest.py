"""Digests: the grammar and go-digest's words."""

from __future__ import annotations

import hashlib

import pytest

from stowage.services.errors import InvalidDigest
from stowage.services.oci.digest import Digest, Digester


@pytest.mark.parametrize(("algorithm", "length"), [("sha256", 64), ("sha384", 96), ("sha512", 128)])
def test_registered_algorithms_have_their_own_length(algorithm: str, length: int) -> None:
    text = f"{algorithm}:{'0a' * (length // 2)}"
    assert str(Digest.parse(text)) == text
    with pytest.raises(InvalidDigest, match=r"^invalid checksum digest length$"):
        Digest.parse(text + "0")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", "invalid checksum digest format", id="empty"),
        pytest.param("sha256", "invalid checksum digest format", id="no colon"),
        pytest.param("sha256:", "invalid checksum digest format", id="no hex"),
        pytest.param(":abc", "invalid checksum digest format", id="no algorithm"),
        pytest.param("sha256:" + "A" * 64, "invalid checksum digest format", id="upper case"),
        pytest.param("sha256:" + "a" * 63 + "\n", "invalid checksum digest format", id="newline"),
        pytest.param("sha256:../" + "a" * 61, "invalid checksum digest format", id="path"),
        pytest.param("md5:abcdef", "unsupported digest algorithm", id="unknown algorithm"),
        pytest.param("a+b64:A_-=", "unsupported digest algorithm", id="compound algorithm"),
        pytest.param("SHA256:" + "a" * 64, "invalid checksum digest format", id="upper-case algorithm"),
        pytest.param("md5:../x", "invalid checksum digest format", id="unknown algorithm, malformed"),
    ],
)
def test_anything_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert str(caught.value) == sentence


def test_the_digest_of_bytes() -> None:
    digest = Digest.of(b"{}")
    assert str(digest) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert digest.short == "44136fa355b3"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_chunks_have_the_digest_of_the_whole(algorithm: str) -> None:
    digester = Digester(algorithm)
    for chunk in (b"a", b"", memoryview(b"bc")):
        digester.update(chunk)
    assert digester.digest == Digest.of(b"abc", algorithm) == Digest(algorithm, hashlib.new(algorithm, b"abc").hexdigest())
