"""What a client said about itself in `initialize`."""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from treadle.contract.params import InitializeParams

Encoding = Literal["utf-8", "utf-16", "utf-32"]

LENGTHS: Final[dict[str, Callable[[str], int]]] = {
    "utf-32": len,
    "utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "utf-8": lambda text: len(text.encode()),
}
"""The length of a text in the units of each `positionEncoding`."""


class ClientInfo(msgspec.Struct, frozen=True):
    """What a client supports and asked for.

    approvals: which approvals it shows as dialogs: none, those of threads that it follows, or all.
    progress: whether it supports `window/workDoneProgress/create`. progress_token: of `initialize`, for $/progress.
    """

    approvals: Literal["none", "followed", "all"] = "none"
    progress: bool = False
    progress_token: str | int | None = None
    position_encoding: Encoding = "utf-32"

    @property
    def length(self) -> Callable[[str], int]:
        """The function that returns the length of a text in the client's units."""
        return LENGTHS[self.position_encoding]


def client_info(params: InitializeParams) -> ClientInfo:
    """Read the params of `initialize`. Members of an unexpected type count as absent: editors send many others."""
    asked = _member(params.initialization_options, "approvals")
    shows = isinstance(_member(params.capabilities, "window", "showMessage", "messageActionItem"), dict | list)
    offered = _member(params.capabilities, "general", "positionEncodings")
    known = [one for one in offered if isinstance(one, str) and one in LENGTHS] if isinstance(offered, list) else []
    return ClientInfo(
        approvals="none" if not shows else "all" if asked == "all" else "followed" if asked is True else "none",
        progress=_member(params.capabilities, "window", "workDoneProgress") is True,
        progress_token=params.work_done_token,
        position_encoding=known[0] if known else "utf-32",  # type: ignore[arg-type]
    )


def _member(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
