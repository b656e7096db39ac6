"""Agents are configured, started, and asked what they are."""

import json
import stat
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest

from scripted import SCRIPTED, Json, Surroundings, scripted
from scripted_agent import ANSWER
from treadle.agents import process
from treadle.agents.activities import UPDATES
from treadle.agents.config import AgentConfig, Budget, RunnerConfig, ThreadBudget, TurnBudget, read_runner
from treadle.agents.connection import MAX_LINE_BYTES
from treadle.agents.known import KNOWN
from treadle.agents.mapper import METHODS, STATE
from treadle.agents.recording import _OPENING
from treadle.agents.session import INITIALIZE
from treadle.agents.texts import TEXTS

SCHEMAS = Path(__file__).parent / "acp_schema"


@pytest.fixture
def treadle(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


# Configuration


def test_an_agent_is_added_listed_replaced_and_removed(treadle: Surroundings) -> None:
    added = treadle.run("add", "mine", "--env", "API_KEY=secret=1", "--", "node", "agent.js", "--acp", "--", "-x")
    assert added.stdout == f"mine added in {treadle.user}\n"
    assert json.loads(treadle.user.read_text()) == {
        "agents": {
            "mine": {"command": "node", "args": ["agent.js", "--acp", "--", "-x"], "env": {"API_KEY": "secret=1"}}
        }
    }
    assert treadle.run().stdout == f"mine  node agent.js --acp -- -x  {treadle.user}\n"
    assert treadle.run("add", "mine", "--", "goose", "acp").stdout == f"mine replaced in {treadle.user}\n"
    assert json.loads(treadle.run("--json").stdout) == {
        **{"name": "mine", "command": "goose", "args": ["acp"], "env": [], "mcpServers": []},
        "file": str(treadle.user),
    }
    assert treadle.run("remove", "mine").stdout == f"mine removed from {treadle.user}\n"
    assert treadle.run().stdout == f"no agents: `treadle agents add` writes one to {treadle.user}\n"
    again = treadle.run("remove", "mine")
    assert (again.returncode, again.stdout) == (1, "")
    assert f"agent 'mine' is not in {treadle.user}" in again.stderr


def test_an_agent_of_the_data_directory_replaces_that_of_the_user(treadle: Surroundings) -> None:
    here = ("--data-dir", str(treadle.data_dir))
    treadle.run("add", "a", "--", "of-user")
    treadle.run("add", "b", "--", "of-user")
    treadle.run(*here, "add", "a", "--", "of-data")
    listed = [json.loads(line) for line in treadle.run("--json", *here).stdout.splitlines()]
    assert [(agent["name"], agent["command"], agent["file"]) for agent in listed] == [
        ("a", "of-data", str(treadle.data)),
        ("b", "of-user", str(treadle.user)),
    ]
    assert treadle.run(*here, "remove", "a").returncode == 0
    assert "of-data" not in treadle.run(*here).stdout
    assert json.loads(treadle.data.read_text()) == {"agents": {}}


def test_a_file_keeps_what_is_not_changed_and_becomes_private(treadle: Surroundings, tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.json"
    agent = {"command": "x", "mode": "plan", "options": {"model": "m", "fast": True}, "mcpServers": [{"name": "db"}]}
    kept.write_text(json.dumps({"agents": {"z": agent}}))
    kept.chmod(0o644)
    treadle.user.parent.mkdir(parents=True)
    treadle.user.symlink_to(kept)
    treadle.run("add", "a", "--", "./agent")
    assert treadle.user.is_symlink()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text()) == {"agents": {"z": agent, "a": {"command": str(Path.cwd() / "agent")}}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "dotfiles.json"]


GOOD = '{"command": "x"}'


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"agents": {\n  "a": {}\n}}', 2, "agents.a: Object missing required field `command`"),
        ('{"agents": {"a": {\n"command": ""}}}', 2, "agents.a.command: Expected `str` of length >= 1"),
        ('{"agents": {"a": {\n"command": "x",\n"args": ["y",\n3]}}}', 4, "agents.a.args[1]: Expected `str`, got `int`"),
        (
            f'{{"agents": {{"b": {GOOD},\n"a": {{"comand": "hunter2"}}}}}}',
            2,
            "agents.a.comand: Object contains unknown",
        ),
        (
            '{"agents": {"a": {"command": "x",\n"env": {"A": "b",\n"K\\"}": 5}}}}',
            3,
            'agents.a.env.K"}: Expected `str`, got `int`',
        ),
        (
            '{"agents": {"a": {"command": "x",\n"options": {"A": true,\n"B": null}}}}',
            3,
            "agents.a.options.B: Expected `bool | str`, got `null`",
        ),
        (
            '{"agents": {"a": {"command": "x",\n"env": {"A": 1, "A": ""}}}}',
            2,
            "agents.a.env: Expected `str`, got `int`",
        ),
        ('{"runner": {\n"idleMinutes": 0}}', 2, "runner.idleMinutes: Expected `float` > 0"),
        (
            '{"runner": {"budget": {"turn":\n{"costs": 5}}}}',
            2,
            "runner.budget.turn.costs: Object contains unknown field",
        ),
        ('{"agents": {},\n"runner": {"maxProcesses": 1.5}}', 2, "runner.maxProcesses: Expected `int`, got `float`"),
        ('{"agents": {},\n"runner": []}', 2, "runner: Expected `object`, got `array`"),
        ('{"agents": {},\n"runners": {}}', 2, "runners: Object contains unknown field `runners`"),
        (f'{{"agents":\n{{"a b": {GOOD}}}}}', 2, "agents.a b: Expected `str` matching regex"),
        ('{"agents":\n[]}', 2, "agents: Expected `object`, got `array`"),
        pytest.param('{"agents": ' + "[" * 5000 + "]" * 5000 + "}", 1, "agents: Expected `object`", id="deep"),
        (f'{{"agents":\n{{"\\u001b[2J": {GOOD}}}}}', 2, "agents.\ufffd[2J: Expected `str` matching regex"),
        ("\n[]", 2, "the file: Expected `object`, got `array`"),
        ('{"agents": {\n"a": {"command": "x",}}}', 2, "JSON is malformed: trailing comma in object (byte"),
        ('{"agents": {\n', 2, "Input data was truncated"),
        ("", 1, "Input data was truncated"),
        ('{"agents": {\n"a": {"command": "caf\udce9"},\n\n"b": {}}}', 2, "not UTF-8"),
    ],
)
def test_an_invalid_file_is_told_with_its_line_and_member(
    treadle: Surroundings, text: str, line: int, says: str
) -> None:
    treadle.user.parent.mkdir(parents=True)
    treadle.user.write_text(text, "utf-8", "surrogateescape")
    for arguments in ((), ("add", "n", "--", "x"), ("remove", "a")):
        done = treadle.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"treadle: {treadle.user}, line {line}: {says}")
        assert "hunter2" not in done.stderr
        assert treadle.user.read_text("utf-8", "surrogateescape") == text


def test_each_member_of_a_later_file_says_how_agents_are_run(tmp_path: Path) -> None:
    user, data = tmp_path / "user.json", tmp_path / "data.json"
    assert read_runner(user, data) == RunnerConfig(
        start_seconds=60, open_seconds=120, steer_seconds=15, idle_minutes=10, cancel_seconds=15, max_processes=8
    )
    user.write_text('{"runner": {"idleMinutes": 2.5, "budget": {"turn": {"cost": 1, "minutes": 5}}}}')
    data.write_text('{"runner": {"maxProcesses": 2, "budget": {"turn": {"cost": null}, "thread": {"tokens": 9}}}}')
    assert read_runner(user) == RunnerConfig(idle_minutes=2.5, budget=Budget(TurnBudget(1, None, 5)))
    both = Budget(TurnBudget(minutes=5), ThreadBudget(tokens=9))
    assert read_runner(user, data) == RunnerConfig(idle_minutes=2.5, max_processes=2, budget=both)


def test_an_agent_that_is_added_leaves_the_runner_section_as_it_is(treadle: Surroundings) -> None:
    treadle.user.parent.mkdir(parents=True)
    treadle.user.write_text('{"runner": {"idleMinutes": 3}}')
    assert treadle.run("add", "a", "--", "x").returncode == 0
    assert json.loads(treadle.user.read_text()) == {"runner": {"idleMinutes": 3}, "agents": {"a": {"command": "x"}}}


def test_an_agent_that_would_make_the_file_invalid_is_not_added(treadle: Surroundings) -> None:
    treadle.run("add", "a", "--", "x")
    before = treadle.user.read_text()
    done = treadle.run("add", "b", "--", "")
    assert done.returncode == 1
    assert "agents.b.command: Expected `str` of length >= 1. Nothing was changed" in done.stderr
    assert treadle.user.read_text() == before


def test_a_command_without_dashes_before_it_is_told_where_they_belong(treadle: Surroundings) -> None:
    done = treadle.run("add", "mine", "node", "agent.js", "--acp")
    assert done.returncode == 2
    assert "unrecognized arguments: node agent.js --acp: a command and its arguments follow `--`" in done.stderr


def test_no_value_of_a_variable_is_shown_or_logged(treadle: Surroundings) -> None:
    server = {"name": "db", "command": "db", "env": [{"name": "PASSWORD", "value": "hunter2"}]}
    treadle.configure(it={**scripted("die", KEY="hunter2"), "mcpServers": [server]})
    for more in ((), ("--json",), ("--check",), ("--check", "--json")):
        done = treadle.run("--data-dir", str(treadle.data_dir), "--log-level", "debug", *more)
        assert "hunter2" not in done.stdout + done.stderr
    assert "hunter2" not in repr(AgentConfig("x", ["hunter2"], {"KEY": "hunter2"}))


def test_a_well_known_agent_needs_only_its_name_if_its_program_is_there(treadle: Surroundings, tmp_path: Path) -> None:
    treadle.env["PATH"] = str(tmp_path)
    missing = treadle.run("add", "gemini")
    assert missing.returncode == 1
    assert missing.stderr == "treadle: gemini is not on PATH: `npm install -g @google/gemini-cli` installs it\n"
    assert not treadle.user.exists()
    program = tmp_path / "gemini"
    program.touch(0o755)
    assert treadle.run("add", "gemini").returncode == 0
    assert json.loads(treadle.user.read_text()) == {"agents": {"gemini": {"command": "gemini", "args": ["--acp"]}}}
    assert "give its command, `treadle agents add mine -- COMMAND`" in treadle.run("add", "mine").stderr
    for name in KNOWN:
        assert name in treadle.run("add", "mine").stderr


@pytest.mark.parametrize("arguments", [("add", "a b", "--", "x"), ("add", "a", "--env", "=x", "--", "x"), ("add",)])
def test_a_name_or_variable_that_is_invalid_is_a_usage_error(treadle: Surroundings, arguments: tuple[str, ...]) -> None:
    assert treadle.run(*arguments).returncode == 2
    assert not treadle.user.exists()


# What agents answer, and what is wrong with them


def test_a_check_shows_what_an_agent_answers(treadle: Surroundings) -> None:
    checked = treadle.checked()
    assert checked["agent"] == ANSWER["agentInfo"]
    assert checked["protocolVersion"] == 1
    assert checked["capabilities"] == ANSWER["agentCapabilities"]
    assert checked["authMethods"] == ANSWER["authMethods"]
    assert (checked["stderr"], checked["problems"]) == ([], [])
    assert treadle.run("--check", "--data-dir", str(treadle.data_dir)).stdout.splitlines()[1:] == [
        "  ok  Scripted Agent 1.2.3, ACP version 1",
        "  capabilities: loadSession, promptCapabilities.embeddedContext, "
        "sessionCapabilities.resume, sessionCapabilities.close",
        "  login: API key",
    ]


def test_agents_are_checked_in_the_order_of_their_names_and_one_that_fails_is_status_1(treadle: Surroundings) -> None:
    treadle.configure(**{f"agent-{n}": scripted("die") if n == 3 else scripted("bare") for n in range(6)})
    done = treadle.run("--check", "--json", "--data-dir", str(treadle.data_dir))
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(agent["name"], agent["error"] is None) for agent in told] == [(f"agent-{n}", n != 3) for n in range(6)]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("die", "the agent exited with status 3"),
        ("kill-self", "the agent was ended by SIGKILL"),
        ("kill-self-in-real-time", "the agent was ended by signal 40"),
        ("close-stdout", "the agent closed its output"),
        ("version-2", "the agent speaks version 2 of ACP, treadle speaks version 1"),
        ("no-version", "the agent speaks no version of ACP, treadle speaks version 1"),
        ("refuse", 'the agent refused initialize: Internal error: {"details":"no such model"}'),
        ("silence", "the agent has not answered initialize, and sent nothing for 1 s"),
        ("mutter", "the agent has not answered initialize, and sent nothing for 1 s"),
    ],
)
def test_what_fails_is_told_in_a_sentence(treadle: Surroundings, behaviour: str, error: str) -> None:
    assert treadle.checked(behaviour, timeout=1 if behaviour in ("silence", "mutter") else 60)["error"] == error


@pytest.mark.parametrize("behaviour", ["bare", "odd"])
def test_an_answer_with_members_missing_or_of_another_type_is_accepted(treadle: Surroundings, behaviour: str) -> None:
    checked = treadle.checked(behaviour)
    assert checked["agent"] == {"name": "acp", "title": None, "version": None}
    assert checked["capabilities"] == {}


def test_the_last_lines_of_stderr_are_shown_and_megabytes_of_it_do_not_block_the_agent(treadle: Surroundings) -> None:
    assert treadle.checked("flood-stderr")["error"] is None
    checked = treadle.checked("flood-stderr", "die")
    assert checked["stderr"][-2:] == ["the last words", "no key was given"]
    assert len(checked["stderr"]) == process.STDERR_LINES


def test_lines_that_are_not_messages_are_named_and_the_connection_continues(treadle: Surroundings) -> None:
    checked = treadle.checked("banner")
    assert checked["error"] is None
    assert [problem[:60] for problem in checked["problems"]] == [
        "a line is not JSON: Content of a banner",
        "a line is not JSON: \x1b[1mbold\x1b[0m",
        "a line is not UTF-8: \\xff\\xfe",
        'a line is a JSON array: [{"jsonrpc": "2.0"}]',
        "a line is not a message: 7",
        'a line is not a message: {"jsonrpc": "2.0"}',
        "a line is a JSON array: " + "[" * 36,
        'a line is not JSON: {"id": 1, "result": {"deep": [[[[[[[[[[[',
    ]


def test_a_line_over_the_limit_ends_the_agent_because_it_may_have_been_an_answer(treadle: Surroundings) -> None:
    error = treadle.checked("long-line")["error"]
    assert error == f"the agent wrote a line of more than {MAX_LINE_BYTES:,} bytes"


def test_requests_of_the_agent_are_refused_under_their_own_ids(treadle: Surroundings) -> None:
    """Also under 0, and under one that is open in the other direction."""
    checked = treadle.checked("ask", "answer-others")
    assert (checked["error"], checked["protocolVersion"], checked["problems"]) == (None, 1, [])


@pytest.mark.parametrize("command", ["nowhere-to-be-found", "/nowhere/agent", str(SCRIPTED.parent), str(SCRIPTED)])
def test_a_command_that_cannot_be_run_is_named(treadle: Surroundings, command: str) -> None:
    treadle.configure(it={"command": command})
    [told] = treadle.run("--check", "--json", "--data-dir", str(treadle.data_dir)).stdout.splitlines()
    place = "an executable file" if "/" in command else "on PATH"
    assert json.loads(told)["error"] == f"{command} is not {place}"


@pytest.mark.parametrize("more", [{"args": ["\0"]}, {"env": {"=": "x"}}])
def test_arguments_and_variables_that_no_program_can_get_are_told(treadle: Surroundings, more: Json) -> None:
    treadle.configure(it={"command": sys.executable, **more})
    [told] = treadle.run("--check", "--json", "--data-dir", str(treadle.data_dir)).stdout.splitlines()
    assert json.loads(told)["error"].startswith(f"{sys.executable} cannot be run: ")


def test_a_file_that_no_system_can_execute_is_named(treadle: Surroundings, tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    treadle.configure(it={"command": str(program)})
    [told] = treadle.run("--check", "--json", "--data-dir", str(treadle.data_dir)).stdout.splitlines()
    assert json.loads(told)["error"].startswith(f"{program} cannot be run: ")


def test_an_agent_gets_the_environment_without_what_belongs_to_another_program(treadle: Surroundings) -> None:
    treadle.env |= {"CLAUDECODE": "1", "GIT_DIR": "/x/.git", "GIT_INDEX_FILE": "/x/index", "GIT_AUTHOR_DATE": "0"}
    treadle.env |= {"CLAUDE_CODE_USE_BEDROCK": "1", "KEY": "outer", "TREADLE_AGENT": "outer"}
    environment = treadle.checked("environment", KEY="inner", GIT_PAGER="cat")["capabilities"]["_meta"]
    assert not {"CLAUDECODE", "GIT_DIR", "GIT_INDEX_FILE", "GIT_AUTHOR_DATE"} & environment.keys()
    assert {name: environment[name] for name in ("KEY", "GIT_PAGER", "CLAUDE_CODE_USE_BEDROCK", "PATH")} == {
        **{"KEY": "inner", "GIT_PAGER": "cat", "CLAUDE_CODE_USE_BEDROCK": "1"},
        "PATH": treadle.env["PATH"],
    }
    assert environment["TREADLE_AGENT"].startswith("outer:")


def test_an_interpreter_that_does_not_exist_is_told(treadle: Surroundings, tmp_path: Path) -> None:
    program = tmp_path / "agent"
    program.write_text("#!/nowhere/node\n")
    program.chmod(0o755)
    treadle.configure(it={"command": str(program)})
    [told] = treadle.run("--check", "--json", "--data-dir", str(treadle.data_dir)).stdout.splitlines()
    says = f"{program} cannot be run: its interpreter (first line) or loader does not exist"
    assert json.loads(told)["error"] == says


def test_an_agent_that_stops_reading_is_heard_to_the_end(treadle: Surroundings) -> None:
    assert treadle.checked("deaf")["error"] is None


# Upstream's schema


def schema_of(version: str) -> Json:
    schema: Json = msgspec.json.decode((SCHEMAS / version / "schema.json").read_bytes())
    return schema


ANY_REQUEST = {
    *("fs/read_text_file", "fs/write_text_file", "elicitation/create", "elicitation/complete"),
    *("terminal/create", "terminal/output", "terminal/release", "terminal/wait_for_exit", "terminal/kill"),
}
"""Requests and notifications of an agent that become an activity as they are."""

NOT_OF_A_THREAD = {
    *("authenticate", "auth/login", "logout", "auth/logout", "session/list", "session/delete", "session/close"),
    *("session/set_mode", "session/set_config_option"),
}
"""Requests to an agent of which the mapper records nothing: their effects are told by updates."""


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_update_of_the_protocol_is_mapped(version: str) -> None:
    variants = schema_of(version)["$defs"]["SessionUpdate"]
    kinds = {one["properties"]["sessionUpdate"].get("const") for one in variants.get("oneOf") or variants["anyOf"]}
    assert kinds - {None} <= UPDATES.keys() | TEXTS.keys() | {STATE}  # None stands for kinds of the future


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_method_of_the_protocol_is_mapped_or_listed(version: str) -> None:
    meta = msgspec.json.decode((SCHEMAS / version / "meta.json").read_bytes())
    mapped = {"initialize", "session/prompt", "session/cancel", *_OPENING}
    assert set(meta["agentMethods"].values()) <= mapped | NOT_OF_A_THREAD
    assert set(meta["clientMethods"].values()) <= METHODS.keys() | ANY_REQUEST
    assert set(meta["protocolMethods"].values()) == {"$/cancel_request"}


def test_initialize_is_what_the_schema_asks_for() -> None:
    jsonschema.validate(INITIALIZE, {"$ref": "#/$defs/InitializeRequest", "$defs": schema_of("v1")["$defs"]})
