"""The structs of `erasure/status`: what became of the bytes of what was erased."""

from typing import Annotated

from msgspec import Struct

from treadle.domain.ids import GivenId, note


class MachineErasure(Struct, frozen=True, rename="camel"):
    """Whether a machine that has the log has erased it there."""

    machine_id: Annotated[str, note("Of its data directory")]
    applied: Annotated[int, note("The sequence up to which it has the log")]
    erased: bool


class Receipt(Struct, frozen=True, rename="camel", kw_only=True):
    """What became of the bytes of what was erased."""

    thread_id: GivenId
    sequence: Annotated[int, note("The sequence of the event that erased, or redacted")]
    whole: Annotated[bool, note("Whether the thread was erased; false if only some of its texts were redacted")]
    events: Annotated[int, note("How many events lost their texts")]
    purged: Annotated[
        bool, note("Whether the database, its search indexes, its WAL and old copies were overwritten or removed since")
    ]
    removed: Annotated[list[str], note("Old copies of the database that were removed")] = []
    samples: Annotated[int, note("How many samples of the texts were searched for")] = 0
    files_searched: Annotated[
        int | None, note("How many files of the data directory were searched for them, null if no sample was taken")
    ] = None
    hits: Annotated[int | None, note("How often a sample was found, null if nothing was searched")] = None
    found: Annotated[list[str], note("The files with hits")] = []
    not_ours: Annotated[list[str], note("What may have the texts as well, and treadle does not touch")] = []
    machines: Annotated[list[MachineErasure], note("The machines that have the log")] = []


class ErasureStatus(Struct, frozen=True):
    erasures: Annotated[list[Receipt], note("The newest first")]
