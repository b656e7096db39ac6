"""Backpressure: however much comes in, queues are bounded, and requests beyond them get a clear error."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import storms
import wire

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is looked up in /proc")

COST = 64  # MiB


@linux
async def test_a_flood_of_requests_is_answered_once_each_in_bounded_memory(
    data_dir: Path, record_property: Any
) -> None:
    done = await storms.flood(data_dir, requests=100_000)
    record_property("MiB", done.peak - done.before)
    print(f"{done.before} MiB before, {done.peak} at most; {done.taken:.0%} taken unread; {done.seconds:.0f} s")
    assert done.problems == []
    assert done.peak - done.before <= COST


@linux
def test_a_flood_of_unread_large_answers_uses_bounded_memory(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        for n in range(100):
            daemon.dispatch("ChangeSetting", key=f"k{n}", value="x" * 10_000)  # 1 MB a page, 500 MB in all
        before = storms.memory(daemon.process.pid)[0]
        page = [storms.request(1000 + n, "setting/list", {}) for n in range(500)]
        sent = storms.push(daemon, page)
        storms.quiet(daemon)
        for body in page[sent:]:
            daemon.write(daemon.frame(body))
        answers = Counter(daemon.message()["id"] for _ in page)
        assert answers == Counter(range(1000, 1500))
        assert storms.memory(daemon.process.pid)[1] - before <= COST


def test_commands_beyond_the_queue_limit_are_refused_with_a_retry_delay(data_dir: Path) -> None:
    with wire.serving(data_dir) as daemon:
        batches = 25
        commands = [{"type": "ChangeSetting", "key": "k", "value": n} for n in range(1000)]
        messages = [
            [
                {"jsonrpc": "2.0", "id": f"{batch}-{n}", "method": "command/dispatch", "params": command}
                for n, command in enumerate(commands)
            ]
            for batch in range(batches)
        ]
        daemon.send_together(messages)
        answers = [answer for _ in messages for answer in daemon.message()]
        assert len({answer["id"] for answer in answers}) == len(answers) == batches * 1000
        for answer in answers:
            if "error" in answer:
                assert answer["error"]["code"] == -32001
                assert answer["error"]["data"]["retryAfterMs"] >= 0
        acknowledged = sorted(a["result"]["sequence"] for a in answers if "result" in a)
        assert set(acknowledged) <= set(storms.log_of(data_dir))
        daemon.dispatch("ChangeSetting", key="after", value=1)


def test_a_request_refused_with_a_retry_delay_succeeds_when_resent(data_dir: Path) -> None:
    """In a JSON-RPC batch, requests are refused once the answers exceed 16 MiB."""
    with wire.serving(data_dir) as daemon:
        for n in range(100):
            daemon.dispatch("ChangeSetting", key=f"k{n}", value="x" * 10_000)
        batch = [{"jsonrpc": "2.0", "id": n, "method": "setting/list", "params": {}} for n in range(-50, 0)]
        daemon.send(batch)
        refused = [answer for answer in daemon.message() if "error" in answer]
        assert 0 < len(refused) < len(batch)
        for answer in refused:
            assert answer["error"]["code"] == -32001
            assert isinstance(answer["error"]["data"]["retryAfterMs"], int)
            daemon.send(json.dumps(next(one for one in batch if one["id"] == answer["id"])).encode())
            assert "result" in daemon.answer(answer["id"])
