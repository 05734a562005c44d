"""Translates the errors of a bucket into the engine's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from stowage.services.errors import EngineError, Internal, Unavailable

_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_RENEW = "renew them; the service must be restarted only if they are in its environment"
_CREDENTIALS = {
    "ExpiredToken": ("the credentials have expired", _RENEW),
    "TokenRefreshRequired": ("the credentials have expired", _RENEW),
    "InvalidToken": ("the credentials are not valid", _RENEW),
    "InvalidAccessKeyId": ("the access key does not exist", "give the service one that exists"),
    "SignatureDoesNotMatch": ("the secret of the access key is wrong", "give the service the right one"),
    "RequestTimeTooSkewed": ("the clock of this machine is wrong", "set it"),
}
_BUSY = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "InternalError", "RequestTimeout", "Busy"})
_ROLES = "169.254."
"""Where roles of machines have their credentials, which are asked for if there are no others."""

_BUSY_STATUSES = frozenset({"429", "500", "502", "503", "504"})


class Absent(Internal):
    """There is no object at this location, or no bucket: the answer was 404."""


class Denied(Internal):
    """The bucket denies what it was asked for."""


class Refused(Denied):
    """The bucket does not accept the credentials."""


class Unexplained(Denied):
    """The answer says no more than a status."""


@contextmanager
def bucket_errors(bucket: str) -> Iterator[None]:
    """Raise Absent for an object that does not exist, Unavailable for what passes, and Denied or Internal for anything else."""
    try:
        yield
    except EngineError:
        raise
    except Exception as exc:
        # obstore's classes distinguish too little: a missing bucket from a missing object, and listing that is denied from a lost network
        if not type(exc).__module__.startswith("obstore") and not isinstance(exc, FileNotFoundError):
            raise
        raise _translated(bucket, str(exc), isinstance(exc, FileNotFoundError)) from exc


def _translated(bucket: str, text: str, is_absent: bool) -> Exception:
    if _ROLES in text and "<Code>" not in text:
        return Internal(f"the bucket {bucket} cannot be used: no credentials were found")
    code = "".join(_CODE.findall(text)[:1])
    status = "".join(_STATUS.findall(text)[:1])
    absent = Absent(f"the bucket {bucket} answered that there is no such object (404)")
    return refusal(bucket, code, status) or (absent if is_absent else _lost(bucket))


def refusal(bucket: str, code: str, status: str) -> EngineError | None:
    """The error for an answer of the server with this code and status; None if there is none of the two, or no object."""
    shown = f"the bucket {bucket}"
    if code == "NoSuchBucket":
        return Internal(f"{shown} does not exist")
    if code in _CREDENTIALS:
        problem, remedy = _CREDENTIALS[code]
        return Refused(f"{shown} cannot be used: {problem} ({code}): {remedy}")
    if code in _BUSY or status in _BUSY_STATUSES:
        error = Unavailable(f"{shown} is busy or fails for a while ({code or status}): try again later")
        error.retry_after = 0
        return error
    if status in ("400", "401", "403") and not code:
        return Unexplained(f"{shown} denies access ({status})")
    if status in ("401", "403"):
        return Denied(f"{shown} denies access ({code}): allow what docs/deployment.md lists")
    if status and status != "404":
        return Internal(f"{shown} answered with an error ({code or status})")
    return None


def _lost(bucket: str) -> EngineError:
    """The error for a request without an answer."""
    error = Unavailable(f"the bucket {bucket} cannot be reached, or did not answer in time")
    error.retry_after = 0
    return error
