"""A request that failed: what happened, as a value without words.

Inside the client a failure is raised as `Failed`. Only the methods that use cases call know what was being done. They turn it into an
EngineError in the words of one of Docker's two clients: containerd's for pulls and pushes (services/registry/containerd_words.py),
distribution's for inspect, tags, logins and searches (services/registry/distribution_words.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from stowage.services.errors import EngineError, RegistryFailure
from stowage.services.registry.challenges import Challenge
from stowage.services.registry.connections import HandshakeError
from stowage.services.registry.error_document import ErrorDocument
from stowage.services.registry.hosts import Endpoint
from stowage.services.registry.redaction import without_query

Sentence = tuple[type[EngineError], str]
"""The kind of error, and the message that a client reads."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that was not wanted. `denied` says that it rejected a token that was fetched for the request."""

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
    """A request that did not succeed: an answer that refuses it, or an exception that says why there is no answer.

    `url` is where the request ended up, possibly after a redirect. Method and URL are empty if no request is to blame; the exception then
    says everything. `retry_after` is as in EngineError. `endpoint` is the registry's endpoint that was asked, None for another server.
    """

    method: str
    url: str
    reason: Refusal | Exception
    retry_after: float | None = None
    endpoint: Endpoint | None = None

    @property
    def is_absence(self) -> bool:
        """Whether the answer is that the thing does not exist."""
        return isinstance(self.reason, Refusal) and self.reason.status == 404

    def suggests_plain_http(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint may answer in plain HTTP: it does not speak TLS, or nothing listens on the default port.

        A connection that breaks later, or the target of a redirect, does not show that.
        """
        if not endpoint.may_be_plain or urlsplit(self.url).netloc != endpoint.host:
            return False
        if isinstance(self.reason, NewConnectionError | ConnectTimeoutError):
            return urlsplit(self.url).port is None
        return isinstance(self.reason, HandshakeError)


class Failed(Exception):
    """Carries a failure to the place that words it; never leaves the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.method} {without_query(failure.url)}")
        self.failure = failure


def failure_of(exc: Failed | RegistryFailure) -> Failure:
    """The failure that was raised. A RegistryFailure already has its sentence: about a setting, a rule, or the content of an answer."""
    return exc.failure if isinstance(exc, Failed) else Failure("", "", exc, exc.retry_after)


@contextmanager
def worded(word: Callable[[Failure], Sentence]) -> Iterator[None]:
    """Raise failures inside as the errors that `word` makes of them."""
    try:
        yield
    except (Failed, RegistryFailure) as exc:
        failure = failure_of(exc)
        kind, words = word(failure)
        error = kind(words)
        error.retry_after = failure.retry_after
        raise error from exc
