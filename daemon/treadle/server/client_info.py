"""What a client said of itself in `initialize`."""

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
"""How long a text is, by `positionEncoding`."""


class ClientInfo(msgspec.Struct, frozen=True):
    """approvals: whether it shows dialogs for approvals: none, those of threads that it follows, or all.
    progress: whether it takes `window/workDoneProgress/create`.
    """

    approvals: Literal["none", "followed", "all"] = "none"
    progress: bool = False
    progress_token: str | int | None = None
    position_encoding: Encoding = "utf-32"

    @property
    def length(self) -> Callable[[str], int]:
        """How long a text is, in its units."""
        return LENGTHS[self.position_encoding]


def client_info(params: InitializeParams) -> ClientInfo:
    """Members of an unexpected type count as absent: editors send much that treadle does not know."""
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
