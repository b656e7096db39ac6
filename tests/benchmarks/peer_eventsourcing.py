"""Events/s that the library `eventsourcing` saves to SQLite: peer_eventsourcing.py DATABASE BATCHES SIZE."""

# mypy: disable-error-code="misc, untyped-decorator"
# This runs in its own environment: treadle does not depend on the library.
import sys
import time

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

TEXT = "The delay doubles each time, so that a service which is down is not asked too often by all. "


class Thread(Aggregate):
    @event("Created")
    def __init__(self, title: str) -> None:
        self.title = title
        self.messages = 0

    @event("MessageAdded")
    def add_message(self, message: str, turn: str, role: str, text: str) -> None:
        self.messages += 1


def main(database: str, batches: int, size: int) -> None:
    app: Application = Application(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": database})
    thread = Thread("t")
    app.save(thread)
    elapsed = 0.0
    for batch in range(batches + 1):
        for n in range(size):
            thread.add_message(f"message-{batch}-{n}", "turn", "assistant", TEXT)
        began = time.perf_counter()
        app.save(thread)
        elapsed += time.perf_counter() - began if batch else 0.0
    print(batches * size / elapsed)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
