"""What all events have in common: the bases of their structs."""

from typing import Annotated

from msgspec import Struct

from treadle.domain.ids import GivenId, Timestamp, note


class Event(Struct, frozen=True, kw_only=True, tag=True, rename="camel", omit_defaults=True):
    at: Annotated[Timestamp, note("When it happened. Later events may have earlier times")]


class ThreadEvent(Event, frozen=True, kw_only=True):
    thread_id: GivenId
