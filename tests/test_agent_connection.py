"""The connection to an agent: messages in their order, answers under their ids, patience, and garbage."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.agents.codec import AgentMessage
from treadle.agents.connection import AgentConnection, AgentFailed, AgentRefused
from wire import PATIENCE

FRAGMENTS = [
    *(b'{"id":', b'{"id":1,"result":1e999}', b'{"id":1e999,"result":{}}', b'{"method":"\\ud800"}', b'{"method":5}'),
    *(b'{"method":"m","params":"\\ud800"}', b"\xef\xbb\xbf{}", b"Content-Length: 5\r\n\r\n", b"[[", b"null", b"\x00"),
]


@given(st.lists(st.binary(max_size=60) | st.sampled_from(FRAGMENTS), max_size=20), st.integers(1, 50))
async def test_whatever_an_agent_writes_the_next_message_is_received(garbage: list[bytes], size: int) -> None:
    seen: list[str] = []
    connection = AgentConnection(lambda data: None, lambda _, message: seen.append(message.method))
    text = b"\n".join([*garbage, b'{"method":"the/last"}\n'])
    for start in range(0, len(text), size):
        connection.feed(text[start : start + size])
    assert seen[-1] == "the/last"


async def test_messages_are_received_in_their_order_however_they_are_cut() -> None:
    seen: list[bytes] = []
    connection = AgentConnection(lambda data: None, lambda _, message: seen.append(bytes(message.params)))
    text = b"".join(b'{"method":"session/update","params":{"n":%d}}\r\n' % n for n in range(500))
    for start in range(0, len(text), 7):
        connection.feed(text[start : start + 7])
    assert seen == [b'{"n":%d}' % n for n in range(500)]


async def test_what_precedes_an_answer_is_received_before_the_call_returns() -> None:
    seen: list[AgentMessage] = []

    def write(request: bytes) -> None:
        id = msgspec.json.decode(request)["id"]
        update = b'{"method":"session/update","params":{}}\n'
        connection.feed(update * 1000 + b'{"id":%d,"result":{"stopReason":"end_turn"}}\n' % id)

    connection = AgentConnection(write, lambda _, message: seen.append(message))
    assert await connection.call("session/prompt", {}, PATIENCE) == {"stopReason": "end_turn"}
    assert len(seen) == 1000


async def test_a_call_after_the_end_of_an_agent_fails_with_the_reason_of_the_end() -> None:
    connection = AgentConnection(lambda data: None, lambda _, message: None)
    connection.feed(b"last words")
    connection.end("the agent exited with status 3")
    connection.end("another reason")
    with pytest.raises(AgentFailed, match="exited with status 3"):
        await connection.call("initialize", {}, PATIENCE)
    assert list(connection.problems) == ["a line is not JSON: last words"]


class Agent:
    """Stands for an agent: says what it is told to say, and keeps in order what is heard of it and sent to it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.sent: list[dict[str, Any]] = []
        self.connection = AgentConnection(
            lambda data: self.sent.append(msgspec.json.decode(data)), lambda _, message: self.heard.append(message)
        )

    def say(self, *messages: bytes) -> None:
        self.connection.feed(b"".join(message + b"\n" for message in messages))


async def test_an_answer_is_told_between_what_precedes_and_what_follows_it() -> None:
    agent = Agent()
    agent.connection.request("session/prompt", {}, agent.heard.append)
    agent.say(b'{"method":"before"}', b'{"id":1,"result":{"stopReason":"end_turn"}}', b'{"method":"after"}')
    before, answer, after = agent.heard
    assert (before.method, answer, after.method) == ("before", {"stopReason": "end_turn"}, "after")
    agent.say(b'{"id":1,"result":{"stopReason":"refusal"}}')
    assert len(agent.heard) == 3  # an answer that was given twice


async def test_a_refusal_keeps_its_code_and_data() -> None:
    agent = Agent()
    calling = asyncio.create_task(agent.connection.call("session/new", {}, PATIENCE))
    await asyncio.sleep(0)
    agent.say(b'{"id":1,"error":{"code":-32000,"message":"Authentication required","data":{"authMethods":[]}}}')
    with pytest.raises(AgentRefused, match="refused session/new: Authentication required") as refused:
        await calling
    assert (refused.value.code, refused.value.error["data"]) == (-32000, {"authMethods": []})


@pytest.mark.parametrize("error", ["no", {"code": "x"}, [], False])
async def test_a_refusal_without_a_code_is_a_refusal(error: Any) -> None:
    agent = Agent()
    agent.connection.request("session/new", {}, agent.heard.append)
    agent.say(msgspec.json.encode({"id": 1, "error": error}))
    [refused] = agent.heard
    assert isinstance(refused, AgentRefused)
    assert refused.code is None


@pytest.mark.parametrize("id", [b"0", b'"0"', b"1", b"-1.50", b'"a\xe2\x80\xa8b"', b"null"])
async def test_a_request_of_the_agent_is_answered_under_its_own_id(id: bytes) -> None:
    written: list[bytes] = []
    connection = AgentConnection(written.append, lambda connection, message: connection.respond(message.id, {"x": 1}))
    connection.request("session/prompt", {}, lambda answer: pytest.fail("an answer to another request"))
    connection.feed(b'{"id":%b,"method":"session/request_permission"}\n' % id)
    assert written[1] == b'{"jsonrpc":"2.0","id":%b,"result":{"x":1}}\n' % id


async def test_a_notification_has_no_id() -> None:
    agent = Agent()
    agent.connection.notify("session/cancel", {"sessionId": "s"})
    assert agent.sent == [{"jsonrpc": "2.0", "method": "session/cancel", "params": {"sessionId": "s"}}]


async def test_the_end_of_an_agent_fails_each_open_request_once_and_what_follows_it_is_ignored() -> None:
    agent = Agent()
    for _ in range(2):
        agent.connection.request("session/prompt", {}, agent.heard.append)
    agent.connection.end("the agent exited with status 3")
    agent.say(b'{"id":1,"result":{}}', b'{"method":"late"}')
    agent.connection.request("session/prompt", {}, agent.heard.append)
    assert [str(failure) for failure in agent.heard] == ["the agent exited with status 3"] * 3
    assert len(agent.sent) == 2


async def test_a_call_ends_although_the_agent_keeps_sending_messages() -> None:
    agent, loop = Agent(), asyncio.get_running_loop()

    def chatter() -> None:
        agent.say(b'{"method":"session/update"}')
        if not calling.done():
            loop.call_soon(chatter)

    calling = asyncio.create_task(agent.connection.call("initialize", {}, 0.02))
    loop.call_soon(chatter)
    with pytest.raises(AgentFailed, match=r"has not answered initialize for 0\.2 s"):
        await calling


async def test_a_pause_counts_for_no_patience() -> None:
    agent = Agent()
    calling = asyncio.create_task(agent.connection.call("session/new", {}, 0.2))
    await asyncio.sleep(0)
    agent.connection.pause()
    await asyncio.sleep(0.5)  # more than its patience
    agent.connection.resume()
    agent.say(b'{"id":1,"result":{"sessionId":"s"}}')
    assert await calling == {"sessionId": "s"}


async def test_a_call_without_patience_ends_with_the_agent() -> None:
    agent = Agent()
    calling = asyncio.create_task(agent.connection.call("session/prompt", {}, None))
    await asyncio.sleep(0)
    agent.connection.end("the agent was ended by SIGKILL")
    with pytest.raises(AgentFailed, match="SIGKILL"):
        await calling
