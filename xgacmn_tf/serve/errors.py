"""The error of a request."""


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
      message: one line for the client.
      status: the HTTP status; 400 for mistakes of the client.
      reason: the message for the log and the operator, where it names hosts or files of the server;
        None if it is the same.
    """

    def __init__(self, message: str, status: int = 400, reason: str | None = None):
        line = " ".join(message.split())[:1000]
        self.message = line.encode("utf-8", "replace").decode()  # JSON can hold half characters.
        self.status, self.reason = status, reason
        super().__init__(" ".join((reason or self.message).split()))
