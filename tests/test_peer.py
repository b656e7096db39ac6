"""Requests from the daemon to its client: dialogs for approvals, and progress. The client is pygls or a raw pipe."""

import asyncio
import gc
import itertools
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from docs_exchanges import rebuilding
from support import PATIENCE, opened
from test_rpc_golden import APART
from treadle.core.engine import Engine
from treadle.domain import commands as c
from treadle.server.approvals import Approvals
from treadle.server.codec import Response
from treadle.server.peer import Peer
from wire import TREADLE, Daemon, serving, spawn

SHOWS: dict[str, Any] = {"window": {"showMessage": {"messageActionItem": {}}}}
OPTIONS = [{"id": "o1", "name": "Allow", "kind": "allow_once"}, {"id": "o2", "name": "Reject", "kind": "reject_once"}]
SETUP: list[c.Command] = [
    c.CreateProject(id="p", name="p", path="/p"),
    c.CreateThread(thread_id="t", project_id="p", title="T"),
    c.StartTurn(thread_id="t", id="u"),
    c.RequestApproval(
        thread_id="t", turn_id="u", id="a", title="Run?", options=msgspec.convert(OPTIONS, list[c.ApprovalOption])
    ),
]


def approval(daemon: Daemon, id: str, thread: str = "t", options: Any = OPTIONS) -> None:
    daemon.dispatch("RequestApproval", threadId=thread, turnId="u", id=id, title=f"Run {id}?", options=options)


def turn(daemon: Daemon, thread: str = "t") -> None:
    daemon.dispatch("CreateThread", threadId=thread, projectId="p", title=f"Thread {thread}")
    daemon.dispatch("StartTurn", threadId=thread, id="u", prompt="hello")


def outcome(daemon: Daemon, id: str, thread: str = "t") -> tuple[str, str | None]:
    approvals = daemon.result("thread/read", {"threadId": thread})["approvals"]
    return next((one["status"], one["outcome"]) for one in approvals if one["id"] == id)


def requests(daemon: Daemon) -> list[dict[str, Any]]:
    """What the daemon asks until it has ended."""
    daemon.close_input()
    for message in daemon.rest():
        daemon._keep(message)
    return [one for one in daemon.notifications if "id" in one]


def answer(daemon: Daemon, id: Any, result: Any) -> None:
    daemon.send({"jsonrpc": "2.0", "id": id, "result": result})


@contextmanager
def asked(data_dir: Path, approvals: Any = True, **capabilities: Any) -> Iterator[Daemon]:
    with spawn(data_dir) as daemon:
        daemon.initialize(capabilities={**SHOWS, **capabilities}, initializationOptions={"approvals": approvals})
        yield daemon


@contextmanager
def two(data_dir: Path, approvals: Any = True) -> Iterator[tuple[Daemon, Daemon]]:
    """A daemon that runs a turn, and one whose client shows dialogs."""
    with serving(data_dir) as agent:
        agent.dispatch("CreateProject", id="p", name="p", path="/p")
        turn(agent)
        with asked(data_dir, approvals) as editor:
            yield agent, editor


def follow(daemon: Daemon, thread: str = "t") -> str:
    return str(daemon.result("subscription/open", {"topic": "thread", "threadId": thread})["subscriptionId"])


def resolved(daemon: Daemon, id: str) -> None:
    """Return once the subscriber was told that the approval is not pending any more."""
    daemon.notification(
        "projection/changed",
        lambda params: any(
            change["type"] == "upsert"
            and change["entity"] == "approval"
            and change["value"]["id"] == id
            and change["value"]["status"] != "pending"
            for change in params["changes"]
        ),
    )


def test_the_chosen_action_resolves_an_approval_of_another_process(data_dir: Path) -> None:
    with two(data_dir) as (agent, editor):
        follow(editor)
        approval(agent, "a")
        request = editor.question()
        assert request == APART["window/showMessageRequest"]
        answer(editor, request["id"], {"title": "Reject"})
        resolved(editor, "a")
        assert outcome(agent, "a") == ("resolved", "o2")
        assert requests(editor) == []


def test_options_with_the_same_name_get_distinct_titles(data_dir: Path) -> None:
    options = [{"id": id, "name": "Allow", "kind": "allow_once"} for id in ("x", "y", "Allow")]
    with two(data_dir) as (agent, editor):
        follow(editor)
        approval(agent, "a", options=options)
        request = editor.question()
        titles = [action["title"] for action in request["params"]["actions"]]
        assert len(set(titles)) == 3
        answer(editor, request["id"], {"title": titles[1]})
        resolved(editor, "a")
        assert outcome(agent, "a") == ("resolved", "y")


def test_an_approval_is_shown_once_even_with_two_subscriptions_to_its_thread(data_dir: Path) -> None:
    with two(data_dir) as (agent, editor):
        approval(agent, "before")
        follow(editor)
        follow(editor)
        first = editor.question()
        approval(agent, "after")
        second = editor.question()
        assert [one["params"]["message"][:10] for one in (first, second)] == ["Run before", "Run after?"]
        assert requests(editor) == []


@pytest.mark.parametrize("result", [{"result": None}, {"error": {"code": 1, "message": "no"}}, {"result": 5}])
def test_a_dismissed_dialog_leaves_the_approval_pending(data_dir: Path, result: Any) -> None:
    with two(data_dir) as (agent, editor):
        follow(editor)
        approval(agent, "a")
        editor.send({"jsonrpc": "2.0", "id": editor.question()["id"], **result})
        approval(agent, "b")
        request = editor.question()
        assert request["params"]["message"].startswith("Run b?")
        answer(editor, request["id"], {"title": "Allow"})
        resolved(editor, "b")
        assert outcome(agent, "a") == ("pending", None)
        assert requests(editor) == []


@pytest.mark.parametrize("how", ["resolved", "cancelled", "turn", "thread", "unfollowed"])
def test_an_approval_that_ends_elsewhere_closes_its_dialog(data_dir: Path, how: str) -> None:
    with two(data_dir) as (agent, editor):
        subscription = follow(editor)
        approval(agent, "a")
        request = editor.question()
        match how:
            case "resolved":
                agent.dispatch("ResolveApproval", threadId="t", id="a", outcome="o1")
            case "cancelled":
                agent.dispatch("ResolveApproval", threadId="t", id="a", outcome=None)
            case "turn":
                agent.dispatch("CompleteTurn", threadId="t", id="u", stopReason="end_turn")
            case "thread":
                agent.dispatch("DeleteThread", threadId="t")
            case "unfollowed":
                editor.result("subscription/close", {"subscriptionId": subscription})
        assert editor.notification("$/cancelRequest") == APART["$/cancelRequest"]["params"]
        answer(editor, request["id"], {"title": "Reject"})
        assert editor.result("daemon/status")["pid"]
        if how in ("resolved", "unfollowed"):
            assert outcome(agent, "a") == (("resolved", "o1") if how == "resolved" else ("pending", None))
        assert requests(editor) == []


async def test_an_answer_that_comes_too_late_is_no_error_once_its_dialog_is_closed(data_dir: Path) -> None:
    unhandled: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context["message"]))
    asked: asyncio.Queue[bytes] = asyncio.Queue()
    peer = Peer(asked.put_nowait)
    async with opened(data_dir) as store:
        engine, slow = Engine(store, linger=0), Engine(store, linger=0)
        engine.start()
        await engine.submit(SETUP, atomic=True).future
        dialogs = asyncio.create_task(Approvals(store, slow, peer, lambda: None).run())
        request = msgspec.Raw(msgspec.json.encode(json.loads(await asked.get())["id"]))
        peer.take_answer(Response(request, msgspec.Raw(b'{"title":"Reject"}'), None))
        while slow.queued == 0:  # noqa: ASYNC110  # nothing tells when it is submitted
            await asyncio.sleep(0)
        await engine.submit([c.ResolveApproval(thread_id="t", id="a", outcome="o1")]).future
        dialogs.cancel()
        await asyncio.gather(dialogs, return_exceptions=True)
        slow.start()
        for one in (slow, engine):
            await one.stop()
    gc.collect()
    assert unhandled == []


def test_approvals_all_shows_dialogs_without_a_subscription(data_dir: Path) -> None:
    with asked(data_dir, "all") as editor:
        editor.dispatch("CreateProject", id="p", name="p", path="/p")
        turn(editor)
        approval(editor, "own")
        request = editor.question()
        answer(editor, request["id"], {"title": "Allow"})
        follow(editor)
        while outcome(editor, "own")[0] == "pending":
            resolved(editor, "own")
        assert outcome(editor, "own") == ("resolved", "o1")


@pytest.mark.parametrize(
    "params",
    [
        {"capabilities": SHOWS},
        {"initializationOptions": {"approvals": True}},
        {"capabilities": [], "initializationOptions": []},
        {"capabilities": SHOWS, "initializationOptions": {"approvals": False}},
    ],
)
def test_no_dialog_is_shown_unless_the_client_supports_and_requests_it(data_dir: Path, params: Any) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize(**params)
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        turn(daemon)
        follow(daemon)
        approval(daemon, "a")
        assert requests(daemon) == []


def test_the_number_of_open_dialogs_is_limited(data_dir: Path) -> None:
    with two(data_dir) as (agent, editor):
        for i in range(20):
            approval(agent, f"a{i}")
        follow(editor)
        opened = [editor.question() for _ in range(16)]
        answer(editor, opened[0]["id"], None)
        assert editor.question()["params"]["message"].startswith("Run a16?")
        assert requests(editor) == []


def test_without_pygls_everything_but_dialogs_works(data_dir: Path) -> None:
    program = "import sys; sys.modules['pygls'] = None; from treadle import cli; cli.main(['serve', *sys.argv[1:]])"
    with spawn(data_dir, command=(sys.executable, "-c", program)) as daemon:
        daemon.initialize(capabilities=SHOWS, initializationOptions={"approvals": "all"})
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        turn(daemon)
        approval(daemon, "a")
        told = daemon.notification("window/logMessage")
        assert told["type"] == 2
        assert "failed to import pygls" in told["message"]
        assert outcome(daemon, "a") == ("pending", None)
        assert requests(daemon) == []


@pytest.mark.parametrize("result", [None, {}])
def test_waiting_for_a_rebuild_by_another_process_is_shown_as_progress(data_dir: Path, result: Any) -> None:
    with spawn(data_dir) as daemon:
        daemon.initialize(capabilities={"window": {"workDoneProgress": True}})
        with rebuilding(data_dir):
            waits = daemon.request("command/dispatch", {"type": "ChangeSetting", "key": "k", "value": 1})
            create = daemon.question()
            assert create == APART["window/workDoneProgress/create"]
            answer(daemon, create["id"], result)
            begun = daemon.notification("$/progress")
            assert (begun["token"], begun["value"]["kind"]) == (create["params"]["token"], "begin")
        assert daemon.answer(waits)["result"]["sequence"] == 1
        assert daemon.notification("$/progress") == {"token": begun["token"], "value": {"kind": "end"}}


UNITS = {
    "utf-8": lambda text: len(text.encode()),
    "utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "utf-32": len,
}
TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1, max_size=6
)


@pytest.mark.parametrize("encoding", UNITS)
def test_offsets_use_the_negotiated_position_encoding(data_dir: Path, encoding: str) -> None:
    with spawn(data_dir, "--linger-ms", "0") as daemon:
        offered = {"general": {"positionEncodings": ["utf-7", encoding]}}
        assert daemon.initialize(capabilities=offered)["capabilities"]["positionEncoding"] == encoding
        daemon.dispatch("CreateProject", id="p", name="p", path="/p")
        threads = itertools.count()

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
        @given(first=st.text(st.sampled_from("a\u00e9\u20ac\U0001f9f5")), texts=TEXTS)
        def streams(first: str, texts: list[str]) -> None:
            thread = f"t{next(threads)}"
            turn(daemon, thread)
            message = {"turnId": "u", "role": "assistant", "text": first, "streaming": True}
            daemon.dispatch("AddMessage", threadId=thread, id="m", **message)
            daemon.dispatch("AppendMessage", threadId=thread, id="m", text=texts[0])
            subscription = follow(daemon, thread)
            for text in texts[1:]:
                daemon.dispatch("AppendMessage", threadId=thread, id="m", text=text)
            held = first + texts[0]
            while held != first + "".join(texts):
                told = daemon.notification("projection/changed", lambda one: one["subscriptionId"] == subscription)
                for change in told["changes"]:
                    if change["type"] == "append":
                        assert change["offset"] == UNITS[encoding](held)
                        held += change["text"]

        streams()


# pygls as the client


@asynccontextmanager
async def language_client(data_dir: Path, choose: str | None) -> AsyncIterator[tuple[LanguageClient, list[str]]]:
    client = LanguageClient("test", "1")
    shown: list[str] = []

    @client.feature(lsp.WINDOW_SHOW_MESSAGE_REQUEST)  # type: ignore[untyped-decorator]
    def show(params: lsp.ShowMessageRequestParams) -> lsp.MessageActionItem | None:
        shown.append(params.message)
        return next((action for action in params.actions or () if action.title == choose), None)

    await client.start_io(*TREADLE, "serve", "--data-dir", str(data_dir))
    capability = lsp.ClientShowMessageActionItemOptions(additional_properties_support=False)
    await client.initialize_async(
        lsp.InitializeParams(
            capabilities=lsp.ClientCapabilities(
                window=lsp.WindowClientCapabilities(
                    show_message=lsp.ShowMessageRequestClientCapabilities(message_action_item=capability)
                )
            ),
            initialization_options={"approvals": "all"},
        )
    )
    yield client, shown
    await client.shutdown_async(None)
    client.exit(None)
    await client.stop()  # type: ignore[no-untyped-call]


async def test_a_pygls_client_can_answer_a_dialog(data_dir: Path) -> None:
    async with asyncio.timeout(PATIENCE), language_client(data_dir, "Reject") as (client, shown):

        async def dispatch(type: str, **fields: Any) -> None:
            await client.protocol.send_request_async("command/dispatch", {"type": type, **fields})

        told = asyncio.Event()

        @client.feature("projection/changed")  # type: ignore[untyped-decorator]
        def changed(params: Any) -> None:
            if "status='resolved'" in str(params):
                told.set()

        await dispatch("CreateProject", id="p", name="p", path="/p")
        await dispatch("CreateThread", threadId="t", projectId="p", title="T")
        await dispatch("StartTurn", threadId="t", id="u", prompt="hello")
        await client.protocol.send_request_async("subscription/open", {"topic": "thread", "threadId": "t"})
        await dispatch("RequestApproval", threadId="t", turnId="u", id="a", title="Run ls?", options=OPTIONS)
        await told.wait()
        read = await client.protocol.send_request_async("thread/read", {"threadId": "t"})
        assert [(one.status, one.outcome) for one in read.approvals] == [("resolved", "o2")]
        assert shown == ["Run ls? (T)"]
