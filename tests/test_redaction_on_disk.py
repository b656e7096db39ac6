"""No file of a data directory holds a secret that a user, an agent or another tool has written into a thread."""

import json
from pathlib import Path

from histories import SHOP, Claude, text, write
from runs import running
from scripted import linux_only
from test_redaction import made, without_starts
from wire import run


@linux_only
def test_no_file_of_the_data_directory_holds_a_secret(tmp_path: Path) -> None:
    data_dir, home = tmp_path / "data", tmp_path / "home"
    kinds = {
        "prompt": "ghp_" + made("aB3dE5gH", 36),
        "streamed": "xoxb-12345-" + made("bC4eF6hJ", 30),
        "result": "sk-ant-api03-" + made("cD5fG7jK", 40),
        "thought": "hf_" + made("dE6gH8kL", 34),
        "told": "npm_" + made("eF7hJ9lM", 36),
        "imported": "glpat-" + made("fG8jK1mN", 20),
    }
    with running(tmp_path) as runs:
        thread = runs.thread("t")
        thread.answer(f"echo deploy with {kinds['prompt']}, please")
        daemon = runs.daemon
        sent = thread.heard("session/prompt")[0]["params"]["prompt"]
        assert kinds["prompt"] not in str(sent)
        assert "deploy with [redacted: github-token], please" in str(sent)
        turn = {"threadId": "t", "turnId": "u"}
        daemon.dispatch("StartTurn", threadId="t", id="u", prompt="go")
        daemon.dispatch("AddMessage", **turn, id="m", role="assistant", streaming=True)
        for letter in f"I found {kinds['streamed']} in .env":
            daemon.dispatch("AppendMessage", threadId="t", id="m", text=letter)
        result = {"rawOutput": {"stdout": f"KEY={kinds['result']}"}, "content": [{"text": kinds["told"]}]}
        daemon.dispatch(
            "RecordActivity", **turn, id="a", kind="tool_call", title="env", status="completed", detail=result
        )
        daemon.dispatch("RecordActivity", **turn, id="b", kind="thought", title="Thought", status="running")
        for end in range(1, len(kinds["thought"]) + 1):
            daemon.dispatch("UpdateActivity", threadId="t", id="b", detail={"text": kinds["thought"][:end]})
        daemon.dispatch("CompleteTurn", threadId="t", id="u", stopReason="end_turn")
        shown = daemon.result("thread/read", {"threadId": "t"})
        found = [without_starts(message["text"]) for message in shown["messages"]]
        assert "I found [redacted: slack-token] in .env" in found
        found = daemon.result("search/query", {"query": "redacted"})
        assert len(found["items"]) >= 3
    session = Claude()
    records = [session.user("p1", f"the token is {kinds['imported']}"), session.assistant("r1", text("Fine."))]
    write(home / ".claude" / "projects" / "-work-shop" / f"{SHOP}.jsonl", records)
    done = run("import", "claude", "--data-dir", str(data_dir), env={"HOME": str(home)})
    assert done.returncode == 0, done.stderr
    stats = json.loads(run("stats", "--json", "--data-dir", str(data_dir)).stdout)
    assert stats["redacted"]["gitlab-token"] >= 1
    files = [path for path in data_dir.rglob("*") if path.is_file()]
    assert {"treadle.db"} <= {path.name for path in files}
    held = {(path.name, kind) for path in files for kind, secret in kinds.items() if has(path.read_bytes(), secret)}
    assert held == set()


def has(content: bytes, secret: str) -> bool:
    """Whether a file has a half of the secret, in any case: a word index folds it."""
    half = len(secret) // 2
    return any(part.lower().encode() in content.lower() for part in (secret[:half], secret[half:]))
