"""What an embedded server says when it cannot run."""


class ServerError(Exception):
    """An embedded server cannot start; the message says why and what to do instead."""
