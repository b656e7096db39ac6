"""Send answers to the client: each at once, or the answers to a JSON-RPC batch together."""

from collections.abc import Callable

from treadle.server.codec import encode_batch


class PeerError(Exception):
    """The client answered a request of the daemon with an error, or the request could not be sent."""


class Answers:
    """Sends each answer at once. size: bytes of the answers that are held back."""

    size = 0

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def add(self, answer: bytes) -> None:
        self._write(answer)


class Batch(Answers):
    """Collects the answers to a JSON-RPC batch and sends them together (JSON-RPC 2.0, section 6).

    expected: the number of answers. If it is 0, nothing is sent.
    """

    def __init__(self, expected: int, write: Callable[[bytes], None]) -> None:
        super().__init__(write)
        self._missing = expected
        self._answers: list[bytes] = []

    def add(self, answer: bytes) -> None:
        self._answers.append(answer)
        self.size += len(answer)
        self._missing -= 1
        if self._missing == 0:
            self._write(encode_batch(self._answers))
