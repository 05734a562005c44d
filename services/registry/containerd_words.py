"""Failures in the words of containerd's client, which Docker uses to pull and push.

The step that failed comes first:

    failed to resolve reference "<reference>": ...
    failed to copy: httpReadSeeker: failed open: ...

then, at a token server, `failed to authorize: failed to fetch anonymous token: ...`, then what happened:

    failed to do request: Head "<url>": EOF
    unexpected status from GET request to <url>: 500 Internal Server Error

An answer without a document puts `unknown: ` before all that; a document without errors puts `error from registry: `. Errors in a
document replace it: `error from registry: <message>`.

Source: moby daemon/containerd/registry_errors.go and image_pull.go; containerd core/remotes/docker/errcode.go, resolver.go, fetcher.go,
pusher.go, authorizer.go and httpreadseeker.go, core/remotes/errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from stowage.services.errors import NotFound, RegistryFailure, Unauthorized, Unsupported
from stowage.services.registry.challenges import stated_error
from stowage.services.registry.error_document import CODES, StatedError
from stowage.services.registry.failure import Failure, NoAuthorization, NoCredentials, NoToken, Refusal, Sentence, worded
from stowage.services.registry.gohttp import status_line, url_error
from stowage.services.registry.redaction import without_query

OPENING = "failed to copy: httpReadSeeker: failed open: "
PULL_DENIED = "pull access denied for {}, repository does not exist or may require 'docker login'"

_REGISTRY = "error from registry: "
_DENIED = "access denied, repository does not exist or may require authorization: "
_KINDS = {code: CODES[code][0] for code in ("UNAUTHORIZED", "DENIED", "UNAVAILABLE")}
_KINDS |= {"UNSUPPORTED": Unsupported, "TOOMANYREQUESTS": RegistryFailure}
"""The codes that containerd knows; any other is unknown."""
_OLD_CODES = {401: "UNAUTHORIZED", 403: "DENIED"}


def pull_errors(repository: str, doing: str, *, absent: str = "") -> AbstractContextManager[None]:
    """Raise failures inside as errors of a pull from this repository. `doing` is the step that was being done; `absent` is what a 404
    says does not exist.
    """
    return worded(lambda failure: _word_pull(failure, repository, doing, absent))


@contextmanager
def push_errors() -> Iterator[None]:
    """Raise failures inside as errors of a push."""
    with worded(_word_push):
        yield


def copy_error(why: str = "unexpected EOF") -> RegistryFailure:
    """The error for a body that broke off; another try may continue it."""
    error = RegistryFailure(f"failed to copy: {why}")
    error.retry_after = 0
    return error


def _word_pull(failure: Failure, repository: str, doing: str, absent: str) -> Sentence:
    match failure.reason:
        case Refusal(denied=True):  # registries do not say whether it is private or does not exist
            return NotFound, PULL_DENIED.format(repository)
        case Refusal(status=404):
            return NotFound, f"{doing}{absent or f'content at {without_query(failure.url)} not found'}: not found"
        case NoCredentials() as missing:
            return RegistryFailure, f"{doing}pull {_DENIED}authorization failed: {missing}"
    return _word(failure, doing)


def _word_push(failure: Failure) -> Sentence:
    match failure.reason:
        case Refusal(denied=True) as refusal:
            return Unauthorized, f"push {_DENIED}server message: {stated_error(refusal.challenges)}: authorization failed"
        case NoCredentials() as missing:
            return Unauthorized, f"push {_DENIED}authorization failed: {missing}"
    return _word(failure, "")


def _word(failure: Failure, doing: str, sending: str = "failed to do request: ") -> Sentence:
    match failure.reason:
        case Refusal() as refusal:
            request = f"{failure.method} request to {without_query(failure.url)}"
            return _word_refusal(refusal, f"{doing}unexpected status from {request}: {status_line(refusal.status)}")
        case NoToken() as missing:
            return _word(missing.failure, f"{doing}failed to authorize: failed to fetch {missing.wanted}: ", sending="")
        case NoAuthorization() as missing:
            return RegistryFailure, f"{doing}{missing}"
        case error if failure.method:
            return RegistryFailure, f"{doing}{sending}{url_error(failure.method, failure.url, error)}"
    return RegistryFailure, f"{doing}{failure.reason}"


def _word_refusal(refusal: Refusal, otherwise: str) -> Sentence:
    """What the registry says, or `otherwise` if it says nothing."""
    document = refusal.document
    if document.unreadable:
        return RegistryFailure, f"unknown: {otherwise}"
    if document.errors:
        kind = _KINDS.get(document.errors[0].code, RegistryFailure)
        return kind, _REGISTRY + "\n".join(map(_message, document.errors))
    if document.details and refusal.status in _OLD_CODES:
        code = _OLD_CODES[refusal.status]
        return _KINDS[code], f"{CODES[code][1]} - {document.details}"
    return RegistryFailure, _REGISTRY + otherwise


def _message(error: StatedError) -> str:
    """The message of an error, with its detail if that is a string."""
    message = error.message or CODES[error.code if error.code in _KINDS else "UNKNOWN"][1]
    return f"{message} - {error.detail}" if isinstance(error.detail, str) else message
