"""The reference grammar: what parses, what it is normalised to, and Docker's words for what does not."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidReference
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference, dangling_name, parse_any

HEX = "abcdef0123456789" * 4
DIGEST = f"sha256:{HEX}"

GOOD = [
    pytest.param("debian", "docker.io/library/debian", "debian", id="bare name"),
    pytest.param("debian:trixie", "docker.io/library/debian:trixie", "debian:trixie", id="tag"),
    pytest.param("library/debian", "docker.io/library/debian", "debian", id="library"),
    pytest.param("docker.io/debian", "docker.io/library/debian", "debian", id="default domain alone"),
    pytest.param("docker.io/library/debian", "docker.io/library/debian", "debian", id="canonical"),
    pytest.param("index.docker.io/debian:1", "docker.io/library/debian:1", "debian:1", id="legacy domain"),
    pytest.param("index.docker.io/library/debian", "docker.io/library/debian", "debian", id="legacy domain with library"),
    pytest.param("user/name", "docker.io/user/name", "user/name", id="user"),
    pytest.param("user/sub/name", "docker.io/user/sub/name", "user/sub/name", id="three components"),
    pytest.param("library/sub/name", "docker.io/library/sub/name", "library/sub/name", id="library with nested name"),
    pytest.param("localhost/name", "localhost/name", "localhost/name", id="localhost"),
    pytest.param("localhost", "docker.io/library/localhost", "localhost", id="localhost alone is a name"),
    pytest.param("localhost:5000/x/y:z", "localhost:5000/x/y:z", "localhost:5000/x/y:z", id="localhost with port"),
    pytest.param("example.com/name", "example.com/name", "example.com/name", id="domain"),
    pytest.param("example.com", "docker.io/library/example.com", "example.com", id="domain alone is a name"),
    pytest.param("example:5000", "docker.io/library/example:5000", "example:5000", id="port alone is a tag"),
    pytest.param("example:5000/name", "example:5000/name", "example:5000/name", id="host with port"),
    pytest.param("Example/name", "Example/name", "Example/name", id="upper-case domain"),
    pytest.param("UPPER.example.COM:80/name:Tag", "UPPER.example.COM:80/name:Tag", "UPPER.example.COM:80/name:Tag", id="upper-case parts"),
    pytest.param("127.0.0.1:5000/name", "127.0.0.1:5000/name", "127.0.0.1:5000/name", id="ipv4"),
    pytest.param("[::1]:5000/name:1", "[::1]:5000/name:1", "[::1]:5000/name:1", id="ipv6 with port"),
    pytest.param("[2001:db8::1]/name", "[2001:db8::1]/name", "[2001:db8::1]/name", id="ipv6"),
    pytest.param("xn--n3h.com/name", "xn--n3h.com/name", "xn--n3h.com/name", id="punycode"),
    pytest.param("a__b", "docker.io/library/a__b", "a__b", id="double underscore"),
    pytest.param("a----b.c_d", "docker.io/library/a----b.c_d", "a----b.c_d", id="separators"),
    pytest.param("0", "docker.io/library/0", "0", id="digit"),
    pytest.param("sha256:abcd", "docker.io/library/sha256:abcd", "sha256:abcd", id="short digest is a tag"),
    pytest.param("name:_", "docker.io/library/name:_", "name:_", id="underscore tag"),
    pytest.param("name:" + "t" * 128, "docker.io/library/name:" + "t" * 128, "name:" + "t" * 128, id="longest tag"),
    pytest.param("a" * 247, f"docker.io/library/{'a' * 247}", "a" * 247, id="longest path"),
    pytest.param(f"name@{DIGEST}", f"docker.io/library/name@{DIGEST}", f"name@{DIGEST}", id="digest"),
    pytest.param(f"name:tag@{DIGEST}", f"docker.io/library/name:tag@{DIGEST}", f"name:tag@{DIGEST}", id="tag and digest"),
    pytest.param(f"localhost:1/a@sha512:{HEX * 2}", f"localhost:1/a@sha512:{HEX * 2}", f"localhost:1/a@sha512:{HEX * 2}", id="sha512"),
    pytest.param(f"{DIGEST}@{DIGEST}", f"docker.io/library/{DIGEST}@{DIGEST}", f"{DIGEST}@{DIGEST}", id="digest as name and tag"),
    pytest.param(HEX[:63], f"docker.io/library/{HEX[:63]}", HEX[:63], id="63 hex characters"),
]

FORMAT = "invalid reference format"
BAD = [
    pytest.param("", FORMAT, id="empty"),
    pytest.param(":tag", FORMAT, id="no name"),
    pytest.param("name:", FORMAT, id="empty tag"),
    pytest.param("name@", FORMAT, id="empty digest"),
    pytest.param("name ", FORMAT, id="space"),
    pytest.param("name\n", FORMAT, id="trailing newline"),
    pytest.param("name:tag\n", FORMAT, id="newline after tag"),
    pytest.param("-name", FORMAT, id="leading dash"),
    pytest.param("name-", FORMAT, id="trailing dash"),
    pytest.param("a..b", FORMAT, id="two periods"),
    pytest.param("a___b", FORMAT, id="three underscores"),
    pytest.param("a//b", FORMAT, id="empty component"),
    pytest.param("/name", FORMAT, id="leading slash"),
    pytest.param("name/", FORMAT, id="trailing slash"),
    pytest.param("a/b:80/c", FORMAT, id="colon inside path"),
    pytest.param("name:tag:tag", FORMAT, id="two tags"),
    pytest.param("name:-tag", FORMAT, id="tag with leading dash"),
    pytest.param("name:" + "t" * 129, FORMAT, id="tag too long"),
    pytest.param("naïve", FORMAT, id="not ascii"),
    pytest.param("name:٣", FORMAT, id="digit of another script in tag"),
    pytest.param("https://example.com/name", FORMAT, id="url"),
    pytest.param("[::1%eth0]:5000/name", FORMAT, id="ipv6 zone"),
    pytest.param("-example.com/name", FORMAT, id="domain with leading dash"),
    pytest.param("name@sha256:abcd", FORMAT, id="digest too short"),
    pytest.param(f"name@sha256:{HEX[:32]}", "invalid checksum digest length", id="digest of wrong length"),
    pytest.param(f"name@sha256:{HEX.upper()}", "invalid checksum digest format", id="upper-case digest"),
    pytest.param(f"name@md5:{HEX}", "unsupported digest algorithm", id="unknown algorithm"),
    pytest.param("UPPER", f"{FORMAT}: repository name (library/UPPER) must be lowercase", id="upper-case name"),
    pytest.param("user/Name:tag", f"{FORMAT}: repository name (user/Name) must be lowercase", id="upper-case path"),
    pytest.param("example.com/Name", f"{FORMAT}: repository name (Name) must be lowercase", id="upper-case path in domain"),
    pytest.param("a" * 256, "repository name must not be more than 255 characters", id="path too long"),
    pytest.param("a" * 248, "repository name must not be more than 255 characters", id="path too long with library"),
    pytest.param(HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings", id="identifier"),
]


@pytest.mark.parametrize(("text", "canonical", "familiar"), GOOD)
def test_what_a_user_types_is_normalised_and_shown_in_its_familiar_form(text: str, canonical: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == canonical
    assert reference.familiar == familiar
    assert Reference.parse_canonical(canonical) == reference
    assert Reference.parse(familiar) == reference


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_malformed_names_are_refused_in_dockers_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["debian", "debian:1", "index.docker.io/library/debian", "docker.io/debian"])
def test_a_name_that_is_not_in_canonical_form_is_refused_where_one_is_expected(text: str) -> None:
    with pytest.raises(InvalidReference, match=r"^repository name must be canonical$"):
        Reference.parse_canonical(text)


def test_the_parts_of_a_reference() -> None:
    reference = Reference.parse(f"example.com:80/a/b:1@{DIGEST}")
    assert (reference.domain, reference.path, reference.tag, reference.digest) == ("example.com:80", "a/b", "1", Digest("sha256", HEX))
    assert reference.name == "example.com:80/a/b"
    assert str(reference.trimmed()) == "example.com:80/a/b"
    assert not reference.is_name_only
    assert reference.tagged() is reference


def test_only_a_bare_name_becomes_latest() -> None:
    assert str(Reference.parse("a").tagged()) == "docker.io/library/a:latest"
    assert str(Reference.parse("a:1").tagged()) == "docker.io/library/a:1"
    assert str(Reference.parse(f"a@{DIGEST}").tagged()) == f"docker.io/library/a@{DIGEST}"


def test_tag_and_digest_can_be_exchanged() -> None:
    reference = Reference.parse("a:1").with_digest(Digest("sha256", HEX))
    assert reference.familiar == f"a:1@{DIGEST}"
    assert reference.with_tag("2").familiar == f"a:2@{DIGEST}"


@pytest.mark.parametrize("tag", ["", "-a", ".a", "a/b", "a:b", "a\n", "ä", "t" * 129])
def test_a_malformed_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidReference, match=r"^invalid tag format$"):
        Reference.parse("a").with_tag(tag)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        pytest.param(HEX, Digest("sha256", HEX), id="identifier"),
        pytest.param(DIGEST, Digest("sha256", HEX), id="digest"),
        pytest.param("sha256:abcd", Reference("docker.io", "library/sha256", "abcd"), id="short digest is a name"),
        pytest.param("abcd", Reference("docker.io", "library/abcd"), id="short identifier is a name"),
        pytest.param(f"a@{DIGEST}", Reference("docker.io", "library/a", None, Digest("sha256", HEX)), id="name with digest"),
    ],
)
def test_what_names_an_image_in_a_url_is_a_digest_or_a_reference(text: str, parsed: Reference | Digest) -> None:
    assert parse_any(text) == parsed


def test_a_dangling_name_is_a_reference_with_the_digest_of_its_target() -> None:
    name = dangling_name(Digest("sha256", HEX))
    assert name == f"moby-dangling@{DIGEST}"
    assert Reference.parse(name).digest == Digest("sha256", HEX)


components = st.from_regex(r"\A[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8}){0,2}\Z")
domains = st.from_regex(r"\A(?:[a-z]{1,8}\.[a-z]{1,8}|localhost|\[[a-f0-9:]{2,8}\]:[0-9]{1,5}|docker\.io)\Z")
tags = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
digests = st.builds(Digest, st.just("sha256"), st.text("0123456789abcdef", min_size=64, max_size=64))
paths = st.lists(components, min_size=2, max_size=4).map("/".join)
references = st.builds(Reference, domains, paths, st.none() | tags, st.none() | digests)


@given(references)
def test_every_reference_survives_its_canonical_and_its_familiar_form(reference: Reference) -> None:
    assert Reference.parse_canonical(str(reference)) == reference
    first = reference.familiar.partition("/")[0]
    if reference.domain != "docker.io" or not ("." in first or first == "localhost"):
        assert Reference.parse(reference.familiar) == reference


def test_the_familiar_form_of_a_path_that_looks_like_a_domain_names_another_image() -> None:
    reference = Reference.parse("docker.io/example.com/name")
    assert reference.familiar == "example.com/name"
    assert Reference.parse(reference.familiar).domain == "example.com"


@given(st.text(string.ascii_letters + string.digits + "./:@_-[]\n", max_size=60) | st.text(max_size=20))
def test_any_text_is_either_refused_or_normalised_once(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse_canonical(str(reference)) == reference
    assert reference.familiar.isascii()


@pytest.mark.parametrize("text", ["a" * 200_000 + "!", "a-" * 100_000, "a." * 100_000 + "!", "-" * 200_000, "a/" * 100_000, "a:" * 100_000])
def test_long_hostile_names_are_refused_without_catastrophic_backtracking(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)
