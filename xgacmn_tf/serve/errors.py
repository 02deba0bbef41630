"""The error of a request."""


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
      message: one line for the client.
      status: the HTTP status; 400 for mistakes of the client.
    """

    def __init__(self, message: str, status: int = 400):
        line = " ".join(message.split())[:1000]
        self.message = line.encode("utf-8", "replace").decode()  # JSON can hold half characters.
        self.status = status
        super().__init__(self.message)
