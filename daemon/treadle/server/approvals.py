"""Show pending approvals as dialogs in the client: LSP's `window/showMessageRequest`."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from treadle.contract.methods import SHOW_MESSAGE_REQUEST
from treadle.contract.results import MessageActionItem
from treadle.core.engine import Engine, Overloaded
from treadle.domain.commands import ApprovalOption, ResolveApproval
from treadle.domain.errors import NotFound, Rejected
from treadle.server.answers import PeerError
from treadle.server.peer import Peer
from treadle.store.errors import StorageError
from treadle.store.ports import DataDirectory
from treadle.store.records import PendingApproval

log = logging.getLogger(__name__)

MAX_DIALOGS: Final = 16  # open at the same time in one client; the next approval waits until one is closed
RETRY: Final = 1.0  # seconds until a failed read is retried
INFO: Final = 3  # LSP's MessageType


def actions_of(approval: PendingApproval) -> dict[str, str]:
    """The id of each option by a unique title, because a client answers with the title only."""
    options = msgspec.json.decode(approval.options, type=list[ApprovalOption])
    names = [option.name for option in options]
    actions: dict[str, str] = {}
    for option in options:
        title = option.name if option.name and names.count(option.name) == 1 else f"{option.name} ({option.id})"
        while title in actions:
            title += " "
        actions[title.strip() if title.strip() not in actions else title] = option.id
    return actions


class Approvals:
    """The dialogs of one client: one for each pending approval, closed when the approval is resolved elsewhere.

    followed: returns the threads whose approvals are shown; None for all threads.
    """

    def __init__(
        self,
        store: DataDirectory,
        engine: Engine,
        peer: Peer,
        followed: Callable[[], Collection[str] | None],
        max_dialogs: int = MAX_DIALOGS,
    ) -> None:
        self._store = store
        self._engine = engine
        self._peer = peer
        self._followed = followed
        self._max_dialogs = max_dialogs
        self._open: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._asked: set[tuple[str, str]] = set()  # answered or dismissed in this client, may still be pending
        self._woken = asyncio.Event()
        self._woken.set()

    def wake(self) -> None:
        """Update the dialogs: the log or the followed threads have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Open and close dialogs until cancelled."""
        failure = ""
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                try:
                    await self._update()
                    failure = ""
                except StorageError as error:
                    if str(error) != failure:  # once, not every second
                        log.warning("failed to read pending approvals, will retry: %s", error)
                    failure = str(error)
                    self._woken.set()
                    await asyncio.sleep(RETRY)
        finally:
            for dialog in self._open.values():
                dialog.cancel()
            await asyncio.gather(*self._open.values(), return_exceptions=True)

    async def _update(self) -> None:
        questions = await self._pending()
        pending = {(question.thread_id, question.id): question for question in questions}
        self._asked &= pending.keys()
        for key in self._open.keys() - pending.keys():
            self._open.pop(key).cancel()
        for key, question in pending.items():
            if len(self._open) >= self._max_dialogs:
                break
            if key not in self._open and key not in self._asked:
                self._open[key] = asyncio.create_task(self._ask(key, question), name="dialog")

    async def _pending(self) -> Sequence[PendingApproval]:
        threads = self._followed()
        if threads is not None and not threads:
            return []
        return await self._store.read(lambda reads: reads.pending_approvals(threads))

    async def _ask(self, key: tuple[str, str], question: PendingApproval) -> None:
        try:
            actions = actions_of(question)
            if actions:  # without any it would be a message, not a question
                message = f"{question.title} ({question.thread})" if question.thread else question.title
                items = [MessageActionItem(title) for title in actions]
                chosen = await self._peer.request(SHOW_MESSAGE_REQUEST, INFO, message, items)
                await self._resolve(question, actions, chosen)
        except (PeerError, StorageError, Overloaded) as error:
            log.warning("the approval %s stays pending: %s", question.id, error)
        except (NotFound, Rejected):
            log.debug("the approval %s was resolved elsewhere", question.id)
        if self._open.get(key) is asyncio.current_task():
            del self._open[key]
            self._asked.add(key)
            self.wake()

    async def _resolve(
        self, question: PendingApproval, actions: dict[str, str], chosen: MessageActionItem | None
    ) -> None:
        """Resolve the approval by the action that the client chose; null leaves it pending."""
        if chosen is None:
            return
        if chosen.title not in actions:
            raise PeerError("the client chose an action that it was not offered")
        command = ResolveApproval(thread_id=question.thread_id, id=question.id, outcome=actions[chosen.title])
        answered = self._engine.submit([command]).future
        # Nobody waits for it any more if the dialog is closed meanwhile.
        answered.add_done_callback(lambda future: future.cancelled() or future.exception())
        await asyncio.shield(answered)
