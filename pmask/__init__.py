"""PMask hides the signature of every face in a photo, so that face recognition fails and people see no difference."""

__version__ = "0.1.0"
