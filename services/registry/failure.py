"""A request that failed: what happened, as a value without words.

Inside the client a failure travels as `Failed`. The methods that use cases call, which alone know what was being done, turn it into an
EngineError in the words of one of Docker's two clients: containerd's for pulls and pushes (services/registry/containerd_words.py),
distribution's for inspect, tags, logins and searches (services/registry/distribution_words.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from services.errors import EngineError, RegistryFailure
from services.registry.challenges import Challenge
from services.registry.connections import HandshakeError
from services.registry.error_document import ErrorDocument
from services.registry.hosts import Endpoint
from services.registry.redaction import without_query

Sentence = tuple[type[EngineError], str]
"""What a client reads of a failure, and the kind of error that it is."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none of those wanted. `denied` says that it came to a token that was fetched for it."""

    status: int
    content_type: str
    body: bytes
    document: ErrorDocument
    challenges: tuple[Challenge, ...] = ()
    denied: bool = False


class NoAuthorization(Exception):
    """A registry's challenge cannot be answered; `retry_after` as in EngineError."""

    retry_after: float | None = None


class NoCredentials(NoAuthorization):
    """The challenge wants a name and password, and the client has none for this registry."""


class NoToken(NoAuthorization):
    """The token server gives no token; `wanted` is its kind, such as `anonymous token`."""

    def __init__(self, wanted: str, failure: Failure) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.failure = failure
        self.retry_after = failure.retry_after


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that did not bring what it was for: an answer that refuses it, or an exception that says why there is none.

    `url` is where it got to, which may be behind a redirect; method and URL are empty where no request is to blame, and the exception says
    all. `retry_after` is as in EngineError. `endpoint` is the registry's that was asked, None where it was another server.
    """

    method: str
    url: str
    reason: Refusal | Exception
    retry_after: float | None = None
    endpoint: Endpoint | None = None

    @property
    def is_absence(self) -> bool:
        """Whether the answer is that there is no such thing."""
        return isinstance(self.reason, Refusal) and self.reason.status == 404

    def suggests_plain_http(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint may answer in plain HTTP: it does not speak TLS, or nothing listens at the default port.

        A connection that breaks later, or the target of a redirect, says nothing about that.
        """
        if not endpoint.may_be_plain or urlsplit(self.url).netloc != endpoint.host:
            return False
        if isinstance(self.reason, NewConnectionError | ConnectTimeoutError):
            return urlsplit(self.url).port is None
        return isinstance(self.reason, HandshakeError)


class Failed(Exception):
    """Carries a failure to where it is worded; never leaves the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.method} {without_query(failure.url)}")
        self.failure = failure


def failure_of(exc: Failed | RegistryFailure) -> Failure:
    """The failure that was raised; a RegistryFailure is a sentence already, about a setting, a rule, or what came of an answer."""
    return exc.failure if isinstance(exc, Failed) else Failure("", "", exc, exc.retry_after)


@contextmanager
def worded(word: Callable[[Failure], Sentence]) -> Iterator[None]:
    """Raise what fails inside as the error that `word` says it is."""
    try:
        yield
    except (Failed, RegistryFailure) as exc:
        failure = failure_of(exc)
        kind, words = word(failure)
        error = kind(words)
        error.retry_after = failure.retry_after
        raise error from exc
