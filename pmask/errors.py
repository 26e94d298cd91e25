"""Every way in which PMask can refuse or fail, each with a stable code.

The code is part of the contract (command line ``--json``, HTTP ``error.code``, the extension's messages); the
message is for people and may change. ``status`` is the HTTP status that the daemon answers with.
"""

from __future__ import annotations


class PMaskError(Exception):
    """Base of all expected failures. ``code`` and ``status`` are set by each subclass."""

    code = "internal"
    status = 500


class UnknownOption(PMaskError):
    """An option's name is not known."""

    code, status = "unknown_option", 400


class BadOption(PMaskError):
    """An option's value is out of its range or of the wrong type."""

    code, status = "bad_option", 400


class UnknownRecogniser(PMaskError, ValueError):
    """A name that no recogniser of the pool has."""

    code, status = "unknown_recogniser", 400


class NotAnImage(PMaskError):
    """The bytes are in no image format that PMask reads."""

    code, status = "not_an_image", 415


class UnsupportedImage(PMaskError):
    """A real image, but of a kind that could not be returned as it came (a rare mode, a HEIC of several photos)."""

    code, status = "unsupported_image", 415


class BrokenImage(PMaskError):
    """An image that is truncated or corrupt."""

    code, status = "broken_image", 422


class TooManyBytes(PMaskError):
    """The file is larger than MAX_BYTES."""

    code, status = "too_many_bytes", 413


class TooManyPixels(PMaskError):
    """The image has more than MAX_PIXELS pixels."""

    code, status = "too_many_pixels", 413


class Cancelled(PMaskError):
    """The caller asked to stop."""

    code, status = "cancelled", 409


class WeightsUnavailable(PMaskError):
    """Weights are not in the cache and could not be fetched, or did not match their checksum."""

    code, status = "weights_unavailable", 503


class DeviceUnavailable(PMaskError):
    """The asked-for device is not on this machine."""

    code, status = "device_unavailable", 400


class OutOfMemory(PMaskError):
    """The device ran out of memory while a mask was being made."""

    code, status = "out_of_memory", 507


class NoFace(PMaskError):
    """A face was needed (``pmask check``) and none was found."""

    code, status = "no_face", 422
