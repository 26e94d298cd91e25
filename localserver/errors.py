"""The daemon's own refusals. Each has a stable code and its HTTP status, as `pmask.errors` has for the library's."""

from __future__ import annotations

from collections.abc import Iterator

from pmask.errors import PMaskError


class ForbiddenHost(PMaskError):
    """The Host header is not this daemon's: a name that was rebound to loopback."""

    code, status = "forbidden_host", 403


class ForbiddenSite(PMaskError):
    """A web page made the request."""

    code, status = "forbidden_site", 403


class ForbiddenOrigin(PMaskError):
    """The request comes from a page, or from an extension other than the paired one."""

    code, status = "forbidden_origin", 403


class Unauthorised(PMaskError):
    """No token, or one that no paired client has."""

    code, status = "unauthorised", 401


class NotFound(PMaskError):
    """No such route, or no such job of this client."""

    code, status = "not_found", 404


class MethodNotAllowed(PMaskError):
    """The route is there, the method is not."""

    code, status = "method_not_allowed", 405


class BadRequest(PMaskError):
    """The request breaks the protocol."""

    code, status = "bad_request", 400


class BadCode(PMaskError):
    """The pairing code is wrong, used, or too old."""

    code, status = "bad_code", 403


class NotReady(PMaskError):
    """The job has no result yet."""

    code, status = "not_ready", 409


class EngineFailed(PMaskError):
    """The process that makes masks died or failed in a way that nobody foresaw."""

    code, status = "engine_failed", 500


class TryLater(PMaskError):
    """A refusal that time cures. ``retry_after`` is in seconds."""

    status = 429

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooManyAttempts(TryLater):
    """Too many wrong pairing codes."""

    code = "too_many_attempts"


class QueueFull(TryLater):
    """As many jobs, or as many bytes, as the daemon will hold."""

    code = "queue_full"


def error_of(code: object, message: str) -> PMaskError:
    """The error that a worker reported. A code that is not known, or that no worker has, becomes EngineFailed."""
    for kind in _subclasses(PMaskError):
        if kind.code == code and not issubclass(kind, TryLater):
            return kind(message)
    return EngineFailed(message)


def _subclasses(kind: type[PMaskError]) -> Iterator[type[PMaskError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
