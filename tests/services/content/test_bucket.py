"""URLs of buckets: what is refused is never half understood."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stowage.services.content.bucket import BucketAddress


def test_an_address_is_parsed() -> None:
    address = BucketAddress.parse("s3://some-bucket/a/b?endpoint=https://host:9000/&region=eu")
    assert address == BucketAddress("some-bucket", "a/b", "https://host:9000", "eu")
    assert str(replace(address, endpoint="")) == "s3://some-bucket/a/b"


@pytest.mark.parametrize(
    "text",
    [
        "s3://some-bucket",
        "s3://B/a",
        "s3://key:secret@some-bucket/a",
        "s3://some-bucket/a/../b",
        "s3://some-bucket/a?key=1",
        "s3://some-bucket/a?endpoint=host",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        BucketAddress.parse(text)


def test_buckets_of_the_same_name_are_told_apart_by_their_endpoints() -> None:
    texts = ["s3://images/store", "s3://images/store?endpoint=https://one.example", "s3://images/store?endpoint=https://two.example"]
    assert len({BucketAddress.parse(text).place for text in texts}) == 3
    assert BucketAddress.parse(f"{texts[1]}/&region=eu").place == BucketAddress.parse(texts[1]).place
