"""Image references: the grammar, normalisation and the familiar form.

    reference   := name [ ":" tag ] [ "@" digest ]
    name        := [ domain "/" ] path
    domain      := host [ ":" port ]
    host        := domain-name | ipv4-address | "[" ipv6-address "]"
    domain-name := label { "." label }
    label       := alnum | alnum { alnum | "-" } alnum
    alnum       := "a".."z" | "A".."Z" | "0".."9"
    port        := number { number }
    path        := component { "/" component }
    component   := alphanumeric { separator alphanumeric }
    alphanumeric := ( "a".."z" | "0".."9" ) { "a".."z" | "0".."9" }
    separator   := "." | "_" | "__" | "-" { "-" }
    tag         := ( alnum | "_" ) { alnum | "_" | "." | "-" }, at most 128 characters
    digest      := algorithm ":" hex { hex }, at least 32 digits
    algorithm   := word { ( "+" | "." | "-" | "_" ) word }
    identifier  := 64 lower-case hexadecimal characters

The path is at most 255 characters long. What a user types is shorter: `debian` means `docker.io/library/debian`, and its first
component is a domain only if it contains "." or ":" or an upper-case letter, or is `localhost`. `index.docker.io` is `docker.io`.

Source: github.com/distribution/reference (reference.go, regexp.go, normalize.go, helpers.go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from stowage.services.errors import InvalidDigest, InvalidReference
from stowage.services.oci.digest import Digest

DANGLING_PREFIX = "moby-dangling@"

_DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL_PREFIX = "library/"
_MAX_PATH = 255

_ALPHANUMERIC = r"[a-z0-9]+"
_SEPARATOR = r"(?:[._]|__|-+)"
_COMPONENT = rf"{_ALPHANUMERIC}(?:{_SEPARATOR}{_ALPHANUMERIC})*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_IPV6 = r"\[[a-fA-F0-9:]+\]"
_DOMAIN = rf"(?:{_DOMAIN_NAME}|{_IPV6})(?::[0-9]+)?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[a-fA-F0-9]{32,}"

_REFERENCE_PATTERN = re.compile(rf"(?:(?P<domain>{_DOMAIN})/)?(?P<path>{_PATH})(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?")
_TAG_PATTERN = re.compile(_TAG)
_IDENTIFIER_PATTERN = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised name: `domain/path[:tag][@digest]`, e.g. docker.io/library/debian:trixie."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Normalise what a user types (ParseNormalizedNamed); raises InvalidReference in distribution's words. A 64-hex name is refused."""
        if _IDENTIFIER_PATTERN.fullmatch(text):
            raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        domain, remainder = _split_domain(text)
        path = remainder.partition(":")[0]
        if path.lower() != path or "\ufffd" in path:  # the replacement for a byte that is not UTF-8; Go says that it is not lower case
            raise InvalidReference(f"invalid reference format: repository name ({path}) must be lowercase")
        return cls._match(f"{domain}/{remainder}")

    @classmethod
    def parse_canonical(cls, text: str) -> Reference:
        """Read an already normalised name (ParseNamed); raises InvalidReference when it is not in canonical form."""
        if "/".join(_split_domain(text)) != text:
            raise InvalidReference("repository name must be canonical")
        return cls._match(text)

    @classmethod
    def _match(cls, text: str) -> Reference:
        match = _REFERENCE_PATTERN.fullmatch(text)
        if match is None:
            raise InvalidReference("invalid reference format")
        if len(match["path"]) > _MAX_PATH:
            raise InvalidReference(f"repository name must not be more than {_MAX_PATH} characters")
        try:
            digest = Digest.parse(match["digest"]) if match["digest"] else None
        except InvalidDigest as exc:
            raise InvalidReference(str(exc)) from exc
        return cls(match["domain"], match["path"], match["tag"], digest)

    @property
    def name(self) -> str:
        """`domain/path`."""
        return f"{self.domain}/{self.path}"

    @property
    def is_name_only(self) -> bool:
        """Whether it has neither tag nor digest."""
        return self.tag is None and self.digest is None

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it: docker.io/ and library/ left out."""
        if self.domain != _DEFAULT_DOMAIN:
            return self.name
        official = self.path.removeprefix(_OFFICIAL_PREFIX)
        return self.path if "/" in official else official

    @property
    def familiar(self) -> str:
        """The familiar name with tag and digest."""
        return self.familiar_name + self._suffix

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def with_tag(self, tag: str) -> Reference:
        """The same name (and digest) with this tag; raises InvalidReference("invalid tag format")."""
        if not is_tag(tag):
            raise InvalidReference("invalid tag format")
        return replace(self, tag=tag)

    def with_digest(self, digest: Digest) -> Reference:
        """The same name (and tag) with this digest."""
        return replace(self, digest=digest)

    def trimmed(self) -> Reference:
        """The name alone (TrimNamed)."""
        return Reference(self.domain, self.path)

    def tagged(self) -> Reference:
        """Itself, or with tag `latest` when it has neither tag nor digest (TagNameOnly)."""
        return replace(self, tag="latest") if self.is_name_only else self

    def __str__(self) -> str:
        return self.name + self._suffix


def _split_domain(name: str) -> tuple[str, str]:
    """Split what a user types into domain and remainder, with the defaults of Docker Hub filled in (splitDockerDomain)."""
    first, slash, rest = name.partition("/")
    if not slash:
        return _DEFAULT_DOMAIN, _OFFICIAL_PREFIX + name
    if first == _LEGACY_DOMAIN:
        domain, remainder = _DEFAULT_DOMAIN, rest
    elif first == "localhost" or "." in first or ":" in first or first.lower() != first:
        domain, remainder = first, rest
    else:
        domain, remainder = _DEFAULT_DOMAIN, name
    if domain == _DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL_PREFIX + remainder
    return domain, remainder


def is_tag(text: str) -> bool:
    """Whether the text fits the grammar of tags."""
    return _TAG_PATTERN.fullmatch(text) is not None


def parse_any(text: str) -> Reference | Digest:
    """Read what names an image in a URL: a digest or a 64-hex identifier (both -> Digest), or a name (ParseAnyReference).

    Raises InvalidReference.
    """
    if _IDENTIFIER_PATTERN.fullmatch(text):
        return Digest("sha256", text)
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return Reference.parse(text)


def name_forms(name: str) -> tuple[str, str, str, str]:
    """The forms of a name in the store that patterns match: familiar and canonical, each with its tag or digest and without.

    The same as the properties of `Reference`, but fast enough for all names of a store.
    """
    canonical = name if "/" in name else f"{_DEFAULT_DOMAIN}/{_OFFICIAL_PREFIX}{name}"
    bare = canonical.partition("@")[0]
    head, colon, tag = bare.rpartition(":")
    if colon and "/" not in tag:
        bare = head
    suffix = canonical[len(bare) :]
    domain, _, path = bare.partition("/")
    official = path.removeprefix(_OFFICIAL_PREFIX)
    familiar = bare if domain != _DEFAULT_DOMAIN else path if "/" in official else official
    return familiar + suffix, familiar, bare + (suffix or ":latest"), bare


def dangling_name(target: Digest) -> str:
    """The name under which an untagged image is kept."""
    return DANGLING_PREFIX + str(target)


def shown_name(name: str, target: Digest) -> str:
    """An image's name as Docker shows it: familiar, or the ID of a dangling image (moby imageFamiliarName)."""
    return str(target) if name == dangling_name(target) else Reference.parse_canonical(name).familiar
