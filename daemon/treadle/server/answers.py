"""Where answers go: each at once to the client, or those to a batch together."""

from collections.abc import Callable

from treadle.server.codec import encode_batch


class PeerError(Exception):
    """The client answered a request with an error, or it could not be sent."""


class Answers:
    """Where the answer to a message goes: at once to the client. size: in bytes, of those that wait for others."""

    size = 0

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def add(self, answer: bytes) -> None:
        self._write(answer)


class Batch(Answers):
    """Collects the answers to a batch and sends them together (JSON-RPC 2.0, section 6); none for none."""

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
