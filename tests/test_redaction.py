"""Secrets are redacted before they are stored: each form, wherever it is in a command, and however it is cut."""

import itertools
import re
import sysconfig
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_store import MemoryStore
from support import PATIENCE, opened
from test_engine import SETUP, answer, decoded, outcomes, running, send
from treadle.core.engine import Engine
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.redacted import TEXTS, redacted
from treadle.domain.redaction import CONTEXT, MARKER, MAX_UNFINISHED, Redactor
from treadle.domain.secret_forms import RULES
from treadle.store.ports import DataDirectory

LETTERS = "aB3dE5gH"  # the examples are made here, so that no scanner of repositories takes them for real ones
HEX = "0a1b2c3d"
UPPER = "Q2W3E4R5"
CRYPT = "QPZRY9X8"


def made(alphabet: str, length: int) -> str:
    return (alphabet * length)[:length]


def private_key(kind: str = "RSA ") -> str:
    lines = f"{made(LETTERS, 64)}\n{made(LETTERS, 10)}=="
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


SECRETS: list[tuple[str, str]] = [
    ("private-key", private_key("")),
    ("anthropic-key", "sk-ant-api03-" + made(LETTERS, 20)),
    ("openrouter-key", "sk-or-v1-" + made(HEX, 64)),
    ("openai-key", "sk-proj-" + made(LETTERS, 20)),
    ("openai-key", "sk-" + made(LETTERS, 48)),
    *(("github-token", f"gh{letter}_" + made(LETTERS, 36)) for letter in "pousr"),
    ("github-token", "github_pat_" + made(LETTERS, 22) + "_" + made(LETTERS, 12)),
    *(("gitlab-token", f"gl{word}-" + made(LETTERS, 20)) for word in ("pat", "dt", "rt", "ptt", "cbt")),
    ("gitlab-token", "glpat-" + made(LETTERS, 27) + ".01." + made(HEX, 9)),
    *(("slack-token", f"xox{letter}-12345-" + made(LETTERS, 10)) for letter in "abeoprs"),
    ("slack-token", "xapp-1-" + made(LETTERS, 12)),
    ("aws-access-key", "AKIA" + made(UPPER, 16)),
    ("aws-access-key", "ASIA" + made(UPPER, 16)),
    ("google-api-key", "AIza" + made(LETTERS, 35)),
    ("google-oauth-token", "ya29." + made(LETTERS, 24)),
    ("jwt", "eyJ" + made(LETTERS, 12) + ".eyJ" + made(LETTERS, 12) + "." + made(LETTERS, 12)),
    ("stripe-key", "sk_live_" + made(LETTERS, 24)),
    ("stripe-key", "rk_live_" + made(LETTERS, 24)),
    ("webhook-secret", "whsec_" + made(LETTERS, 32)),
    ("npm-token", "npm_" + made(LETTERS, 36)),
    ("pypi-token", "pypi-Ag" + made(LETTERS, 50)),
    ("sendgrid-key", "SG." + made(LETTERS, 22) + "." + made(LETTERS, 43)),
    ("huggingface-token", "hf_" + made(LETTERS, 34)),
    *(("digitalocean-token", f"do{letter}_v1_" + made(HEX, 64)) for letter in "por"),
    *(("vault-token", f"hv{letter}." + made(LETTERS, 24)) for letter in "sbr"),
    ("docker-token", "dckr_pat_" + made(LETTERS, 27)),
    ("age-key", "AGE-SECRET-KEY-1" + made(CRYPT, 58)),
]
NAMES = [f"{kind} {secret[:12].strip()}" for kind, secret in SECRETS]

INNOCENT = [
    "-----BEGIN PRIVATE KEY-----",
    'if text.startswith("-----BEGIN PRIVATE KEY-----") and text.endswith("-----END PRIVATE KEY-----"):',
    "-----BEGIN CERTIFICATE-----\n" + made(LETTERS, 64) + "\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\n" + made(LETTERS, 64) + "\n-----END PUBLIC KEY-----",
    "sk-ant-api03-...",
    "the keys begin with `sk-ant-`, `sk-proj-` or `ghp_`",
    "task-" + made(LETTERS, 48),
    "a risk-management-of-the-whole-company-and-more",
    "sk-learn, sk-SK, sk-estimator-doc-link-and-more-text",
    "sk-or-v1-" + made(HEX, 63),
    "ghp_" + made(LETTERS, 35),
    "ghs_token",
    "laughs_" + made(LETTERS, 40),
    "github_pat_" + made(LETTERS, 10),
    "glpat-short",
    "xoxb-short",
    "xoxz-" + made(LETTERS, 20),
    "AKIA" + made(UPPER, 15),
    "AKIA" + made(UPPER, 17),
    "AKIA" + made(LETTERS, 16),
    "AIza" + made(LETTERS, 34),
    "AIza" + made(LETTERS, 36),
    "ya29.short",
    "eyJhbGciOiJIUzI1NiJ9",
    "eyJhbGciOiJIUzI1NiJ9.something-else.and-more-of-it",
    "sk_live_short",
    "sk_test_" + made(LETTERS, 24),
    "whsec_short",
    "npm_config_registry=https://registry.npmjs.org/",
    "npm_lifecycle_event_of_a_package_that_is_long_",
    "pypi-" + made(LETTERS, 60),
    "pypi-AgEIcHlwaS5vcmc",
    "SG.short.name",
    "hf_hub_download(repo_id='a/b', filename='c.json', revision='main')",
    "hf_" + made(LETTERS, 20),
    "dop_v1_" + made(HEX, 63),
    "hvs.short",
    "dckr_pat_short",
    "AGE-SECRET-KEY-1" + made(CRYPT, 57),
    "https://example.org:8080/a:b@c",
    "https://user@example.org/a",
    "https://user:${PASSWORD}@example.org and https://user:<password>@example.org",
    "https://user:password@example.org and https://user:xxxx@example.org and https://user:***@example.org",
    "ssh://git@example.org:22/team/app.git",
    "4b825dc642cb6eb9a060e54bf8d69288fbee4904 is the empty tree",
    "[redacted: github-token] and postgresql://joe:[redacted: url-password]@db",
]
"""Texts that hold no secret."""


# The forms


@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=NAMES)
def test_a_secret_is_redacted(kind: str, secret: str) -> None:
    marker = f"[redacted: {kind}]"
    for before, after in (
        ("", ""),
        ("KEY=", "\n"),
        ('{"key": "', '"}'),
        ("`", "`, and so on"),
        ("a\\n", "\\nb"),
        ("%3D", "&b=c"),
        ("\x1b[32m", "\x1b[0m"),
        ("(", ")."),
    ):
        assert Redactor().text(before + secret + after) == before + marker + after
    assert Redactor().text(f"{secret} {secret}") == f"{marker} {marker}"


def test_a_private_key_is_redacted_in_each_of_its_writings() -> None:
    long = (made(LETTERS, 64) + "\n") * 50
    for key in (
        private_key(),
        private_key("OPENSSH "),
        private_key("EC ").replace("\n", "\\n"),
        private_key("ENCRYPTED ").replace("\n", "\r\n"),
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{long}=aB3d\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,0\n\n"
        f"{long}-----END RSA PRIVATE KEY-----",
    ):
        assert Redactor().text(f"a {key} b") == "a [redacted: private-key] b"
    cut_off = f"-----BEGIN RSA PRIVATE KEY-----\n{long}"
    assert Redactor().text(cut_off) == "[redacted: private-key]\n"


def test_only_the_password_of_an_address_is_redacted() -> None:
    text = "postgresql://joe:s3cr%40t!@db.example.org:5432/app and https://joe:hunter2@example.org/a"
    marker = "[redacted: url-password]"
    assert (
        Redactor().text(text)
        == f"postgresql://joe:{marker}@db.example.org:5432/app and https://joe:{marker}@example.org/a"
    )
    assert Redactor().text("redis://:hunter2@cache") == f"redis://:{marker}@cache"


@pytest.mark.parametrize("text", INNOCENT)
def test_a_text_without_a_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text
    assert Redactor().text(f"a {text} b") == f"a {text} b"


def test_every_rule_has_its_page_and_an_example() -> None:
    assert all(rule.source.startswith("https://") for rule in RULES)
    kinds = {kind for kind, _ in SECRETS} | {"url-password"}
    assert kinds == {rule.kind for rule in RULES}
    starts = {start for rule in RULES for start in rule.starts if rule.kind != "url-password"}
    assert {start for start in starts if not any(secret.startswith(start) for _, secret in SECRETS)} == set()
    assert len(kinds) >= 20


def test_the_sources_of_python_hold_no_secret() -> None:
    redactor, size = Redactor(), 0
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "test", "tests"} & set(path.relative_to(root).parts):
            continue
        text = path.read_text("utf-8", "replace")
        assert redactor.text(text) == text, path
        assert redactor.split(text + "\n\n", 0) == (text + "\n\n", ""), path
        size += len(text)
    assert size > 10_000_000


# Any text: words that secrets begin with are not in it

HARMLESS = st.text().filter(lambda text: not any(start in text for rule in RULES for start in rule.starts))


@given(HARMLESS)
def test_a_text_without_the_words_that_secrets_begin_with_is_unchanged(text: str) -> None:
    assert Redactor().text(text) == text


PIECES = st.sampled_from(
    [*(secret for _, secret in SECRETS), *INNOCENT, "sk-", "gh", "://", "-", " ", "\n", "a", "x9", '"']
)


@given(st.lists(PIECES, max_size=6).map(" ".join), st.data())
@example("https://joe:hunter2@example.org", None)
def test_a_text_in_pieces_becomes_the_same_as_the_whole_text(text: str, data: Any) -> None:
    cuts = range(len(text) + 1) if data is None else sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    redactor, ready, rest, stored = Redactor(), "", "", ""
    for start, end in itertools.pairwise([0, *cuts, len(text)]):
        seen = stored + rest + text[start:end]
        piece, rest = redactor.split(seen, len(stored))
        ready += piece
        stored = seen[: len(seen) - len(rest)][-CONTEXT:]
    assert without_starts(ready + redactor.finish(stored + rest, len(stored))) == without_starts(redactor.text(text))


def without_starts(text: str) -> str:
    """The first characters of the word that a secret begins with may be stored before the rest comes: they are none."""
    return re.sub(r"\S{0,20}(?=\[redacted: )", "", text)


# What of a command is text

KEPT = frozenset(
    [
        "command_id",
        "at",
        "id",
        "project_id",
        "thread_id",
        "turn_id",
        "message_id",
        "prompt_id",
        "activity_id",
        "rule_id",
        "session_id",
        "after_turn_id",
        "before",
        "outcome",
        "expected_version",
        "cascade",
        "path",
        "remote",
        "origin",
        "worktree",
        "stop_reason",
        "kind",
        "by",
        "confirmed",
        "role",
        "streaming",
        "status",
        "git_ref",
        "commit",
        "tree",
        "phase",
        "skipped",
        "in_project",
        "written",
        "removed",
        "base",
        "key",
        "agent",
        "mode",
        "value",
        "options",
        "when",
        "release",
        "how",
        "exit_status",
        "used",
        "size",
        "cost",
        "currency",
        "tokens",
        "scope",
        "limit",
        "amount",
        "spent",
        "match",
        "decision",
        "until",
        "events",  # of Redact: what takes the place of texts that are taken out
    ]
)
"""Fields that are no text in a command that does not name them in TEXTS."""


def test_it_is_decided_for_every_field_of_every_command_whether_it_is_redacted() -> None:
    undecided = {
        f"{command.__name__}.{field.name}"
        for command in c.COMMANDS
        for field in msgspec.structs.fields(command)
        if field.name not in TEXTS.get(command, ()) and field.name not in KEPT
    }
    assert undecided == set()
    fields = {(command, name) for command, names in TEXTS.items() for name in names}
    assert all(name in command.__struct_fields__ for command, name in fields)


def test_no_field_of_free_text_is_kept() -> None:
    kept = {
        f"{command.__name__}.{field.name}"
        for command in c.COMMANDS
        for field in msgspec.structs.fields(command)
        if field.name not in TEXTS.get(command, ()) and is_free(field.type)
    }
    assert kept == {"AssignAgent.options", "SetThreadOption.value", "ResolveApproval.outcome"}, (
        "ids that programs compare"
    )


def is_free(type: Any) -> bool:
    """Whether a field may hold text of any length."""
    if type is str or type is Any:
        return True
    if get_origin(type) is Literal or (hasattr(type, "__metadata__") and type.__origin__ is str):
        return False
    if isinstance(type, types.UnionType) or get_args(type):
        return any(is_free(item) for item in get_args(type))
    return False


SECRET = "ghp_" + made(LETTERS, 36)
REDACTED = "[redacted: github-token]"


@pytest.mark.parametrize("command", TEXTS, ids=lambda command: command.__name__)
def test_each_text_of_a_command_is_redacted(command: type[c.Command]) -> None:
    golden = [decoded for decoded in goldens() if isinstance(decoded, command)]
    for name in TEXTS[command]:
        free: dict[str, Any] = {"content": [{"type": "text", "text": SECRET}], "detail": {"a": [{"b": f"x {SECRET}"}]}}
        if command is ac.OpenSession or command is ac.ChangeSession:
            free |= {"options": [{"id": "a", "name": SECRET}], "capabilities": {"a": SECRET}}
        if command is c.RequestApproval:
            free |= {"options": [c.ApprovalOption(id="a", name=SECRET, kind="allow_once")]}
        value = free.get(name, SECRET)
        got = getattr(redacted(msgspec.structs.replace(golden[0], **{name: value}), Redactor()), name)
        assert msgspec.json.encode(got).decode() == msgspec.json.encode(value).decode().replace(SECRET, REDACTED)


def goldens() -> list[c.Command]:
    text = (Path(__file__).parent / "golden" / "commands.json").read_bytes()
    goldens = msgspec.json.decode(text, type=dict[str, dict[str, c.AnyCommand]])
    return [command for written in goldens.values() for command in written.values()]


def test_the_commands_of_the_goldens_stay_the_same_objects() -> None:
    for command in goldens():
        assert redacted(command, Redactor()) is command


def test_the_data_of_images_and_sounds_stays() -> None:
    data = "AAAA/AIza" + made(LETTERS, 35) + "+AAA"
    image = {"type": "image", "mimeType": "image/png", "data": data}
    command = c.AddMessage(thread_id="t", id="m", turn_id="u", role="user", content=[image])
    assert redacted(command, Redactor()) is command


# Through the engine


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def ready(store: MemoryStore) -> AsyncIterator[Engine]:
    """With a thread `t` whose turn `u` runs, and the open message `m`. What is held back is held until it ends."""
    async with running(store, hold=PATIENCE) as engine:
        await answer(engine, *SETUP, atomic=True)
        yield engine


async def events_of(store: DataDirectory) -> list[dict[str, Any]]:
    found, after = [], 0
    while True:
        page, last = await store.read(lambda reads: reads.events(None, after, 500))  # noqa: B023
        found += [event["event"] for event in decoded(page)]
        if last is None:
            return found
        after = last


async def texts_of(store: DataDirectory) -> dict[str, str]:
    """The text of each message, as the log has it."""
    texts: dict[str, str] = {}
    for event in await events_of(store):
        if event["type"] in ("MessageAdded", "MessageAppended"):
            texts[event["id"]] = texts.get(event["id"], "") + event.get("text", "")
    return texts


def streamed(id: str, *pieces: str) -> list[c.Command]:
    first: c.Command = c.AddMessage(thread_id="t", id=id, turn_id="u", role="assistant", text="key ", streaming=True)
    deltas = [c.AppendMessage(thread_id="t", id=id, text=piece) for piece in pieces]
    return [first, *deltas, c.CompleteMessage(thread_id="t", id=id)]


@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=NAMES)
async def test_a_secret_that_streams_is_redacted_wherever_it_is_cut(
    ready: Engine, store: MemoryStore, kind: str, secret: str
) -> None:
    places: Iterator[tuple[int, ...]] = itertools.combinations(range(1, len(secret)), 2)
    if len(secret) > 30:  # the second piece of each length at some places, and of some lengths at each place
        places = (pair for pair in places if pair[0] % 13 == 1 or pair[1] - pair[0] in (1, 7, 23))
    cuts = itertools.chain(((cut,) for cut in range(len(secret) + 1)), places)
    ends = itertools.cycle(["", " and", ".\n"])
    sent, expected = [], {}
    for number, (cut, end) in enumerate(zip(cuts, ends, strict=False)):
        pieces = [secret[i:j] for i, j in itertools.pairwise([0, *cut, len(secret)])]
        pieces[-1] += end
        expected[f"s{number}"] = f"key [redacted: {kind}]{end}"
        sent += [send(ready, command) for command in streamed(f"s{number}", *filter(None, pieces))]
        if len(sent) > 10_000:
            assert {type(outcome).__name__ for outcome in await outcomes(sent)} == {"BatchDispatched"}
            sent = []
    assert not [outcome for outcome in await outcomes(sent) if isinstance(outcome, Exception)]
    texts = await texts_of(store)
    assert {id: without_starts(texts[id]) for id in expected} == expected


@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=NAMES)
async def test_a_secret_is_redacted_where_each_piece_comes_after_the_last_is_stored(
    ready: Engine, store: MemoryStore, kind: str, secret: str
) -> None:
    for cut in range(1, len(secret)):
        for command in streamed(f"s{cut}", secret[:cut], secret[cut:] + "; done"):
            send(ready, command)
            await ready.settled()
    texts = await texts_of(store)
    assert {without_starts(texts[f"s{cut}"]) for cut in range(1, len(secret))} == {f"key [redacted: {kind}]; done"}


async def test_the_password_of_an_address_is_redacted_wherever_it_is_cut(ready: Engine, store: MemoryStore) -> None:
    address = "postgres://joe:hunter22@db/app"
    cuts = [*itertools.combinations(range(1, len(address)), 2)]
    sent = [
        send(ready, command)
        for i, j in cuts
        for command in streamed(f"s{i}-{j}", address[:i], address[i:j], address[j:])
    ]
    assert not [outcome for outcome in await outcomes(sent) if isinstance(outcome, Exception)]
    texts = await texts_of(store)
    assert {texts[f"s{i}-{j}"] for i, j in cuts} == {"key postgres://joe:[redacted: url-password]@db/app"}


async def test_a_secret_that_begins_in_the_first_text_of_a_message_is_redacted(
    ready: Engine, store: MemoryStore
) -> None:
    for cut in range(len(SECRET)):
        add = c.AddMessage(
            thread_id="t", id=f"s{cut}", turn_id="u", role="assistant", text=SECRET[:cut], streaming=True
        )
        send(ready, add)
        await ready.settled()
        send(ready, c.AppendMessage(thread_id="t", id=f"s{cut}", text=SECRET[cut:]))
        await answer(ready, c.CompleteMessage(thread_id="t", id=f"s{cut}"))
    texts = await texts_of(store)
    assert {without_starts(texts[f"s{cut}"]) for cut in range(len(SECRET))} == {REDACTED}


@pytest.mark.parametrize(
    "end",
    [
        c.CompleteMessage(thread_id="t", id="m"),
        c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"),
        c.FailTurn(thread_id="t", id="u", error="x"),
        c.InterruptTurn(thread_id="t", id="u"),
        c.ArchiveThread(thread_id="t"),
        c.DeleteThread(thread_id="t"),
        c.DeleteProject(id="p", cascade=True),
    ],
    ids=lambda command: type(command).__name__,
)
async def test_what_is_held_back_is_stored_when_the_message_ends(
    ready: Engine, store: MemoryStore, end: c.Command
) -> None:
    await answer(ready, c.AppendMessage(thread_id="t", id="m", text="so ghp_abc"))
    assert (await events_of(store))[-1]["text"] == "so "
    await answer(ready, end)
    types = [event["type"] for event in await events_of(store)]
    assert types.index("MessageCompleted") == len(types) - types[::-1].index("MessageAppended")
    assert (await texts_of(store))["m"] == "so ghp_abc"


async def test_what_is_held_back_is_stored_after_a_while() -> None:
    store = MemoryStore()
    async with running(store, hold=0.01) as engine:
        await answer(engine, *SETUP, atomic=True)
        delta = send(engine, c.AppendMessage(thread_id="t", id="m", text="a ghp_1"))
        tail = c.RecordActivity(
            thread_id="t", id="a", turn_id="u", kind="thought", title="", status="running", detail={"text": "b ghp_1"}
        )
        await outcomes([delta, send(engine, tail)])
        while any(held.holds for held in engine._held.values()):
            await answer(engine, c.ChangeSetting(key="theme", value=1))
        assert (await texts_of(store))["m"] == "a ghp_1"
        found = await store.read(lambda reads: reads.activity("t", "a"))
        assert msgspec.json.decode(found)["detail"] == {"text": "b ghp_1"}


async def test_what_is_held_back_is_stored_when_the_engine_stops() -> None:
    store = MemoryStore()
    async with running(store, hold=PATIENCE) as engine:
        await answer(engine, *SETUP, atomic=True)
        await answer(engine, c.AppendMessage(thread_id="t", id="m", text="a ghp_1"))
        assert (await texts_of(store))["m"] == "a "
    assert (await texts_of(store))["m"] == "a ghp_1"


async def test_no_more_is_held_back_than_8_kib(ready: Engine, store: MemoryStore) -> None:
    text = "ghp_" + made(LETTERS, 3 * MAX_UNFINISHED)
    for start in range(0, len(text), 1000):
        send(ready, c.AppendMessage(thread_id="t", id="m", text=text[start : start + 1000]))
        await ready.settled()
        assert sum(len(held.rest) for held in ready._held.values()) <= MAX_UNFINISHED
    await answer(ready, c.CompleteMessage(thread_id="t", id="m"))
    assert (await texts_of(store))["m"] == text


async def test_a_rejected_piece_changes_nothing_of_what_is_held_back(ready: Engine, store: MemoryStore) -> None:
    await answer(ready, c.AppendMessage(thread_id="t", id="m", text=SECRET[:10]))
    wrong = c.AppendMessage(thread_id="t", id="m", text="no.", expected_version=1)
    assert isinstance((await outcomes([send(ready, wrong)]))[0], Exception)
    await answer(ready, c.AppendMessage(thread_id="t", id="m", text=SECRET[10:] + "! "))
    assert (await texts_of(store))["m"] == f"{REDACTED}! "


async def test_two_messages_at_once_do_not_mix(ready: Engine, store: MemoryStore) -> None:
    for letter in SECRET:
        for id in ("m", "n"):
            send(ready, c.AppendMessage(thread_id="t", id=id, text=letter))
    await answer(ready, c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"))
    texts = await texts_of(store)
    assert [without_starts(texts[id]) for id in ("m", "n")] == [REDACTED, REDACTED]


# Activities


@pytest.mark.parametrize("ends", ["by itself", "with its turn"])
@pytest.mark.parametrize(("kind", "secret"), SECRETS, ids=NAMES)
async def test_a_secret_in_a_text_that_an_activity_tells_again_as_it_grows_is_redacted(
    ready: Engine, store: MemoryStore, kind: str, secret: str, ends: str
) -> None:
    text = f"I use {secret}"
    common: dict[str, Any] = {"thread_id": "t", "id": "a"}
    await answer(
        ready,
        c.RecordActivity(**common, turn_id="u", kind="thought", title="Thought", status="running", detail={"text": ""}),
    )
    for length in range(1, len(text) + 1):
        send(ready, c.UpdateActivity(**common, detail={"text": text[:length]}))
        await ready.settled()
    end = c.UpdateActivity(**common, status="completed")
    await answer(ready, end if ends == "by itself" else c.CompleteTurn(thread_id="t", id="u", stop_reason="end_turn"))
    found = msgspec.json.decode(await store.read(lambda reads: reads.activity("t", "a")))
    assert found["detail"] == {"text": f"I use [redacted: {kind}]"}
    whole = msgspec.json.encode(await events_of(store)).decode()
    assert secret[len(secret) // 2 :][:20] not in whole
    assert secret[: len(secret) // 2] not in whole


async def test_what_is_held_back_of_an_activity_does_not_replace_what_a_command_with_an_id_said_later(
    ready: Engine, store: MemoryStore
) -> None:
    common: dict[str, Any] = {"thread_id": "t", "id": "a"}
    started = c.RecordActivity(
        **common, turn_id="u", kind="thought", title="Thought", status="running", detail={"text": "b ghp_1"}
    )
    await answer(ready, started)
    later = c.UpdateActivity(**common, command_id="later", detail={"text": "something else"})
    await ready.submit([later], command_id="later").future
    await answer(ready, c.UpdateActivity(**common, status="completed"))
    found = msgspec.json.decode(await store.read(lambda reads: reads.activity("t", "a")))
    assert found["detail"] == {"text": "something else"}


# The setting


async def test_redaction_can_be_turned_off_and_on_again(ready: Engine, store: MemoryStore) -> None:
    await answer(ready, c.RenameThread(thread_id="t", title=SECRET))
    off = c.ChangeSetting(key="redaction", value={"mode": "off"})
    send(ready, c.AppendMessage(thread_id="t", id="m", text="a ghp_"))
    await answer(ready, off, c.RenameThread(thread_id="t", title=f"{SECRET} 2"), atomic=True)
    await answer(ready, c.AppendMessage(thread_id="t", id="m", text="1"))
    await answer(ready, c.ChangeSetting(key="redaction", value=None))
    await answer(ready, c.RenameThread(thread_id="t", title=f"{SECRET} 3"))
    titles = [event["title"] for event in await events_of(store) if event["type"] == "ThreadRenamed"]
    assert titles == [REDACTED, f"{SECRET} 2", f"{REDACTED} 3"]
    assert (await texts_of(store))["m"] == "a ghp_1"


async def test_own_patterns_are_redacted_from_the_piece_on_in_which_they_are_found(
    ready: Engine, store: MemoryStore
) -> None:
    value = {"patterns": ["ACME-[0-9]{4}", "(?i)projekt x"]}
    await answer(ready, c.ChangeSetting(key="redaction", value=value))
    await answer(ready, c.RenameThread(thread_id="t", title="PROJEKT X and ACME-1234"))
    for piece in ("its ACME-", "12", "34 or", "."):
        await answer(ready, c.AppendMessage(thread_id="t", id="m", text=piece))
    await answer(ready, c.CompleteMessage(thread_id="t", id="m"))
    events = await events_of(store)
    assert [event["title"] for event in events if event["type"] == "ThreadRenamed"] == [
        "[redacted: pattern] and [redacted: pattern]"
    ]
    assert [event["value"] for event in events if event["type"] == "SettingChanged"] == [value]
    assert (await texts_of(store))["m"] == "its ACME-12[redacted: pattern] or."


async def test_an_engine_heeds_the_setting_that_another_process_has_changed(data_dir: Path) -> None:
    async with opened(data_dir) as store, opened(data_dir) as other:
        async with running(store) as here, running(other) as there:
            await answer(here, *SETUP, atomic=True)
            await answer(here, c.RenameThread(thread_id="t", title="a"))
            await answer(there, c.ChangeSetting(key="redaction", value={"mode": "off"}))
            await answer(here, c.RenameThread(thread_id="t", title=SECRET))
            await answer(there, c.ChangeSetting(key="redaction", value={"mode": "on"}))
            await answer(here, c.RenameThread(thread_id="t", title=f"{SECRET}!"))
        titles = [event["title"] for event in await events_of(store) if event["type"] == "ThreadRenamed"]
    assert titles == ["a", SECRET, f"{REDACTED}!"]


def test_a_marker_is_what_stats_looks_for() -> None:
    assert all(MARKER.fullmatch(f"[redacted: {rule.kind}]") for rule in RULES)
