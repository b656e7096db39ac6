"""The JSON of commands and events does not change: clients and logs outlive the release that wrote them.

tests/golden/ has one example per variant: `maximal` with every field, `minimal` with the required ones, and, for a
command, `filled`: the minimal one with its defaults. No test writes these files. If a test fails, the wire format
has changed: give a new field a default and add it to the golden, and leave the other fields alone.
"""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct

from treadle.domain import commands as c
from treadle.domain import events as e

GOLDEN = Path(__file__).parent / "golden"

Goldens = dict[str, dict[str, Raw]]
COMMANDS = msgspec.json.decode((GOLDEN / "commands.json").read_bytes(), type=Goldens)
EVENTS = msgspec.json.decode((GOLDEN / "events.json").read_bytes(), type=Goldens)

decode_command = msgspec.json.Decoder(c.AnyCommand).decode
VARIANTS: tuple[type[Struct], ...] = (*c.COMMANDS, *e.EVENTS, c.ApprovalOption, e.OfferedOption)


def each(goldens: Goldens, *forms: str) -> pytest.MarkDecorator:
    """Parametrizes a test with `golden`, the bytes of each golden of these forms (all, if unsaid)."""
    found = {
        f"{name}-{form}": raw for name, of in goldens.items() for form, raw in of.items() if form in forms or not forms
    }
    return pytest.mark.parametrize("golden", [bytes(raw) for raw in found.values()], ids=found)


def fields(variant: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(variant)}


def default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def as_dict(golden: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(golden)
    return decoded


def without(golden: bytes, name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in as_dict(golden).items() if key != name})


def with_field(golden: bytes, name: str, value: Any) -> bytes:
    return msgspec.json.encode({**as_dict(golden), name: value})


# The files


@pytest.mark.parametrize(
    ("variants", "goldens"), [(c.COMMANDS, COMMANDS), (e.EVENTS, EVENTS)], ids=["command", "event"]
)
def test_goldens_cover_exactly_the_commands_and_events(variants: tuple[type[Struct], ...], goldens: Goldens) -> None:
    assert list(goldens) == [variant.__name__ for variant in variants]


@pytest.mark.parametrize("variant", [*c.COMMANDS, *e.EVENTS], ids=lambda variant: str(variant.__name__))
def test_maximal_goldens_have_every_field_and_minimal_ones_only_required_fields(variant: type[Struct]) -> None:
    golden = (COMMANDS if issubclass(variant, c.Command) else EVENTS)[variant.__name__]
    known = fields(variant)
    required = [name for name, field in known.items() if field.required]
    maximal = as_dict(bytes(golden["maximal"]))
    assert list(maximal) == ["type", *known]
    assert all(maximal[name] != default(field) for name, field in known.items() if not field.required)
    assert ("minimal" in golden) == (len(required) < len(known))
    if "minimal" in golden:
        assert list(as_dict(bytes(golden["minimal"]))) == ["type", *required]
    assert ("filled" in golden) == issubclass(variant, c.Command)


# The structs


def test_structs_are_immutable_with_camel_case_fields_and_their_class_name_as_type() -> None:
    for variant in VARIANTS:
        assert variant.__struct_config__.frozen
        for field in msgspec.structs.fields(variant):
            assert re.fullmatch(r"[a-z]+([A-Z][a-z]*)*", field.encode_name)
            assert field.encode_name.lower() == field.name.replace("_", "")
    for variant in (*c.COMMANDS, *e.EVENTS):
        assert variant.__struct_config__.tag_field == "type"
        assert variant.__struct_config__.tag == variant.__name__


def test_types_are_looked_up_by_name() -> None:
    assert {name: variant.__name__ for name, variant in c.BY_TYPE.items()} == {name: name for name in COMMANDS}
    assert set(EVENTS) == e.EVENT_TYPES


@pytest.mark.parametrize("variant", c.COMMANDS, ids=lambda variant: str(variant.__name__))
def test_the_engine_generates_exactly_the_optional_ids(variant: type[c.Command]) -> None:
    optional = {f.name for f in msgspec.structs.fields(variant) if f.name.endswith("id") and not f.required}
    # Not new ones: the command's own name, the turn that InterruptTurn stops, a checkpoint's turn, and references.
    looked_up = {"command_id", "prompt_id", "activity_id", "rule_id", "after_turn_id"} & optional
    looked_up |= {"id"} if variant is c.InterruptTurn else set()
    looked_up |= {"turn_id"} if variant in (c.CreateCheckpoint, c.FailCheckpoint) else set()
    assert set(variant.NEW_IDS) == optional - looked_up
    minimal = decode_command(bytes(COMMANDS[variant.__name__]["minimal"]))
    assert c.missing_ids(minimal) == list(variant.NEW_IDS)
    assert not c.missing_ids(c.with_ids(minimal, dict.fromkeys(variant.NEW_IDS, "new")))


# Commands


@each(COMMANDS, "maximal", "filled")
def test_golden_commands_are_reencoded_unchanged(golden: bytes) -> None:
    assert msgspec.json.encode(decode_command(golden)) == golden


@pytest.mark.parametrize("name", COMMANDS)
def test_omitted_command_fields_get_their_golden_defaults(name: str) -> None:
    minimal, filled = bytes(COMMANDS[name]["minimal"]), bytes(COMMANDS[name]["filled"])
    assert msgspec.json.encode(decode_command(minimal)) == filled


@each(COMMANDS)
def test_a_command_with_an_unknown_field_is_refused(golden: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `note`"):
        decode_command(with_field(golden, "note", None))


@each(COMMANDS, "minimal")
def test_a_command_without_a_required_field_is_refused(golden: bytes) -> None:
    for name in as_dict(golden):
        with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
            decode_command(without(golden, name))


@each(COMMANDS, "maximal")
def test_each_optional_command_field_can_be_omitted_alone(golden: bytes) -> None:
    command = decode_command(golden)
    for name, field in fields(type(command)).items():
        if not field.required:
            assert decode_command(without(golden, name)) == msgspec.structs.replace(
                command, **{field.name: default(field)}
            )


@each(COMMANDS, "maximal")
def test_a_command_with_an_invalid_id_is_refused(golden: bytes) -> None:
    told = as_dict(golden)
    of_the_agent = {("SetThreadOption", "id"), ("OpenSession", "sessionId")}
    ids = [name for name in told if name == "id" or name.endswith("Id")]
    ids = [name for name in ids if (told["type"], name) not in of_the_agent]
    assert ids
    for name in ids:
        for bad in ("", "a b", "ä", "a/b", "a\n", "x" * 129, 7):
            with pytest.raises(msgspec.ValidationError, match=rf"`\$\.{name}`"):
                decode_command(with_field(golden, name, bad))
        decode_command(with_field(golden, name, "Az09._:-" * 16))


def test_an_option_with_an_unknown_field_is_refused() -> None:
    golden = as_dict(bytes(COMMANDS["RequestApproval"]["maximal"]))
    golden["options"][0]["note"] = None
    with pytest.raises(msgspec.ValidationError, match=r"`\$\.options\[0\]`"):
        decode_command(msgspec.json.encode(golden))


@pytest.mark.parametrize(
    ("name", "field", "good", "bad"),
    [
        ("CreateProject", "name", ["x", "ä" * 1024], ["", "x" * 1025, None]),
        ("CreateProject", "path", ["/", "/" * 4096], ["", "/" * 4097, None]),
        ("CreateThread", "title", ["x", "x" * 1024], ["", "x" * 1025, None]),
        ("RenameThread", "expectedVersion", [0, 2**62, None], [-1, 1.5, "1", True]),
        ("DeleteProject", "cascade", [True, False], [None, 1, "yes"]),
        ("CreateProject", "at", ["0001-01-01T00:00:00.000Z", None], ["", "2026-01-31", "2026-01-31T12:00:00Z", 1]),
        ("CreateProject", "remote", ["x", "x" * 1024, None], ["", "x" * 1025, 1]),
        ("CreateThread", "origin", [{"tool": "x"}, None], [{}, {"tool": ""}, {"tool": "x", "pid": 1}, "x"]),
        ("StartTurn", "prompt", ["", "x" * 100_000], [None, 1]),
        ("StartTurn", "content", [[{}], [{"type": "x"}] * 1000, None], [[], [1], {}, [{}] * 1001]),
        ("FailTurn", "kind", ["x", "x" * 128, None], ["", "x" * 129, 1]),
        ("InterruptTurn", "confirmed", [True, False, None], [0, "yes"]),
        ("UpdateActivity", "detail", [{}, {"": {"a": None}}, None], [[], "x", 1]),
        ("CreateCheckpoint", "commit", ["a" * 40, "0" * 64, None], ["", "a" * 41, "A" * 40, "a" * 40 + "\n"]),
        ("CreateCheckpoint", "phase", ["before", "after", "manual"], ["", None]),
        ("CompleteTurn", "stopReason", ["x", "x" * 128], ["", "x" * 129, None]),
        ("CompleteTurn", "usage", [None, 0, "", [], {"a": {}}], []),
        ("AddMessage", "role", ["user", "assistant", "system"], ["tool", "", None]),
        ("AddMessage", "streaming", [True, False], [None, 0]),
        ("RecordActivity", "kind", ["x", "fs/read", "x" * 128], ["", "x" * 129, None]),
        ("RecordActivity", "status", ["pending", "running", "completed", "failed"], ["in_progress", "", None]),
        ("RequestApproval", "options", [[]], [None, {}, [{}], [{"id": "", "name": "", "kind": ""}]]),
        ("ResolveApproval", "outcome", [None, "", "x"], [1, True]),
        ("CreateCheckpoint", "gitRef", ["HEAD"], ["", "x" * 1025, None]),
        ("AssignAgent", "options", [{}, {"x": "", "y": False}], [None, {"x": 1}, {"x": None}, []]),
        ("SetThreadOption", "value", ["", True, False], [None, 1, []]),
        ("QueuePrompt", "when", ["idle", "steer"], ["now", "", None]),
        ("EditPrompt", "content", [[{}], None], [[], {}]),
        ("MovePrompt", "before", ["x", None], ["", "a b", 1]),
        ("OpenSession", "sessionId", ["x", "a b", "ä" * 1024], ["", "x" * 1025, None]),
        ("OpenSession", "how", ["new", "load", "resume", "fork"], ["", None]),
        ("EndSession", "exitStatus", [0, -9, None], ["0", 1.5]),
        ("ReachBudget", "limit", ["cost", "tokens", "minutes"], ["", None]),
        ("AddRule", "scope", [{}, {"threadId": "t"}], [None, {"threadId": ""}, {"agent": "x"}]),
        ("AddRule", "match", [{}, {"command": ["ls"]}], [None, {"command": []}, {"command": [""]}, {"tool": "x"}]),
        ("AddRule", "until", ["2026-01-31T12:00:00.000Z", None], ["", "tomorrow"]),
        ("ChangeSetting", "key", ["x", "x" * 256], ["", "x" * 257, None]),
        ("ChangeSetting", "value", [None, False, 0, "", {}], []),
    ],
)
def test_a_command_field_accepts_and_refuses_the_same_values(
    name: str, field: str, good: list[Any], bad: list[Any]
) -> None:
    golden = bytes(COMMANDS[name]["maximal"])
    for value in good:
        command = decode_command(with_field(golden, field, value))
        assert as_dict(msgspec.json.encode(command))[field] == value
    for value in bad:
        with pytest.raises(msgspec.ValidationError, match=rf"`\$\.{field}"):
            decode_command(with_field(golden, field, value))


def test_a_command_of_an_unknown_type_is_refused() -> None:
    for bad in [
        b'{"type":"Explode"}',
        b'{"type":"createProject","name":"x","path":"/"}',
        b'{"type":null}',
        b"{}",
        b"[]",
    ]:
        with pytest.raises(msgspec.ValidationError):
            decode_command(bad)


# Events


@each(EVENTS)
def test_golden_events_are_reencoded_unchanged(golden: bytes) -> None:
    assert e.encode(e.decode(golden)) == golden


@each(EVENTS)
def test_unknown_event_fields_of_a_newer_release_are_ignored(golden: bytes) -> None:
    assert e.decode(with_field(golden, "since2027", {"a": 1})) == e.decode(golden)


@each(EVENTS, "maximal")
def test_event_fields_can_be_missing_unless_required(golden: bytes) -> None:
    event = e.decode(golden)
    for name, field in fields(type(event)).items():
        if field.required:
            with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
                e.decode(without(golden, name))
        else:
            assert e.decode(without(golden, name)) == msgspec.structs.replace(event, **{field.name: default(field)})


@each(EVENTS)
def test_an_event_of_an_unknown_type_is_refused(golden: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"`\$\.type`"):
        e.decode(with_field(golden, "type", "ThreadPinned"))
    with pytest.raises(msgspec.ValidationError):
        e.decode(without(golden, "type"))


@each(EVENTS)
def test_every_event_has_its_time_and_every_thread_event_its_thread_id(golden: bytes) -> None:
    event, told = e.decode(golden), as_dict(golden)
    assert told["at"] == "2026-01-31T12:00:00.000Z"
    assert ("threadId" in told) == isinstance(event, e.ThreadEvent)
    assert next(iter(told)) == "type"


def test_meaningful_nulls_are_encoded() -> None:
    removed = e.SettingChanged(key="theme", value=None, at="now")
    assert e.encode(removed) == b'{"type":"SettingChanged","at":"now","key":"theme","value":null}'
    assert b'"outcome":null' in bytes(EVENTS["ApprovalResolved"]["maximal"])


def test_a_stored_event_is_encoded_as_sequence_and_event() -> None:
    stored = e.StoredEvent(sequence=7, event=e.ProjectDeleted(id="p", at="now"))
    encoded = msgspec.json.encode(stored)
    assert encoded == b'{"sequence":7,"event":{"type":"ProjectDeleted","at":"now","id":"p"}}'
    assert msgspec.json.decode(encoded, type=e.StoredEvent) == stored


def test_a_stored_event_says_who_caused_it_where_that_is_not_the_owner() -> None:
    stored = e.StoredEvent(sequence=7, event=e.ProjectDeleted(id="p", at="now"), actor="ada")
    encoded = msgspec.json.encode(stored)
    assert encoded == b'{"sequence":7,"event":{"type":"ProjectDeleted","at":"now","id":"p"},"actor":"ada"}'
    assert msgspec.json.decode(encoded, type=e.StoredEvent) == stored
