"""The classes of errors; this module imports nothing, so every layer may raise them.

The class says what kind of failure it is; the message says what happened, in Docker's words.
The HTTP status of each class is in one table in app/errors.py.
"""


class EngineError(Exception):
    """Base of every failure that is reported to a client; `str(error)` is the message."""

    retry_after: float | None = None
    """Seconds after which another try may succeed, 0 if the number is unknown; None if it would fail the same way."""


class InvalidParameter(EngineError):
    """The request is malformed or asks for something that makes no sense."""


class InvalidDigest(InvalidParameter):
    """A digest does not match the grammar of the OCI image spec or has an unsupported algorithm."""


class InvalidReference(InvalidParameter):
    """An image name does not match the reference grammar."""


class InvalidContent(InvalidParameter):
    """Bytes that were sent or fetched are not what they claim to be: an archive, manifest, layer or digest that lies."""


class Unauthorized(EngineError):
    """A registry requires credentials, or refuses those that it was given."""


class Forbidden(EngineError):
    """The request is understood but refused, by a rule or a setting."""


class NotFound(EngineError):
    """The object that the request names does not exist."""


class ImageNotFound(NotFound):
    """No image has this name or ID."""

    def __init__(self, familiar: str) -> None:
        super().__init__(f"No such image: {familiar}")


class PlatformNotFound(NotFound):
    """The image has no manifest for the wanted platform."""


class BlobNotFound(NotFound):
    """No blob of this digest is in the content store."""


class Conflict(EngineError):
    """The request contradicts the state of the store; `force` may override that."""


class Unsupported(EngineError):
    """Stowage cannot do this; the message says why."""


class NotAllowed(EngineError):
    """A registry answers that it does not support what it was asked for."""


class Unavailable(EngineError):
    """A registry or another server did not answer, or asked to come back later."""


class Disconnected(EngineError):
    """The client has disconnected, so its request has ended and nobody gets the answer."""


class TransferEnded(EngineError):
    """An administrator has ended the request."""


class ResourceExhausted(Unavailable):
    """A registry answers that there were too many requests."""


class RegistryFailure(EngineError):
    """A registry cannot be reached, or its answer has no class of its own in Docker."""


class OutOfSpace(EngineError):
    """The disk is full; nothing stored before is lost."""


class Internal(EngineError):
    """The store or the server is at fault, not the request."""


class Damaged(Internal):
    """A blob's file is not what was stored; the message names the blob and says how to repair it."""


def drop_frames(error: EngineError) -> None:
    """Let neither the error nor what led to it refer to any frame, and so to what a function has kept."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__cause__ or each.__context__
