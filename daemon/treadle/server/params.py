"""Decode the params of a request: tolerate common habits of clients, and name the invalid member.

msgspec decodes the text first. Only if that fails, the text is examined member by member, guided by the types: to drop
ignored members and nulls, or else to find the invalid member. This does not depend on the wording of msgspec's errors.
"""

import collections.abc
import functools
import json
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Raw, Struct, ValidationError

from treadle.contract import json_text
from treadle.contract.errors import invalid_params
from treadle.contract.params import IGNORED_MEMBERS
from treadle.server.codec import LONE_SURROGATE, first_items, id_key, opening

T = TypeVar("T")
Found = tuple[str, str]  # the path of an invalid member, relative to the examined text, and the reason

_NO_PARAMS: Final = Raw(b"{}")
_NULL: Final = Raw(b"null")
_REASON_LENGTH: Final = 500
_MANY: Final = 100_000


def decode_params(params: Raw | None, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode the params to the type of `decoder`. Missing params and `[]` (an empty table in Lua) count as `{}`.

    IGNORED_MEMBERS are dropped, and an optional member that is null gets its default. Raises only RpcError (invalid
    params); its `data.path` is the member that is invalid, missing or unknown: `$.params.commands[1].threadId`.
    """
    text = params or _NO_PARAMS
    try:
        try:
            return decoder.decode(text)
        except ValidationError:
            return _decode_leniently(text, decoder)
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
        lone = json_text.holds_lone_surrogate(bytes(text))
        raise invalid_params(LONE_SURROGATE if lone else str(error)[:_REASON_LENGTH], "$.params") from None


def _decode_leniently(text: Raw, decoder: msgspec.json.Decoder[T]) -> T:
    if opening(text) == b"[":
        if bytes(text).strip()[1:-1].strip():
            raise invalid_params("params must be an object: they are passed by name", "$.params")
        text = _NO_PARAMS
    text = _tidy(text, decoder.type, IGNORED_MEMBERS)
    try:
        return decoder.decode(text)
    except ValidationError:
        path, reason = _locate(text, decoder.type) or ("", "the params do not fit the method")
        raise invalid_params(reason[:_REASON_LENGTH], f"$.params{path}") from None


def _tidy(text: Raw, type: Any, ignored: Sequence[str] = ()) -> Raw:
    """`text` without `ignored` members, and without nulls for optional members."""
    if opening(text) == b"{" and (struct := _variant(text, type)):
        try:
            members = _members(text, struct, ignored)
        except ValidationError:  # an unknown member
            return text
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        kept = {}
        for name, value in members.items():
            field = fields.get(name)
            if field is None:
                if name not in ignored:
                    kept[name] = value
            elif field.required or value != _NULL:
                kept[name] = _tidy(value, field.type)
        return Raw(msgspec.json.encode(kept))
    if opening(text) == b"[" and (item := _item(type)) is not None and (items := first_items(text)) is not None:
        return Raw(msgspec.json.encode([_tidy(one, item) for one in items]))
    return text


def _locate(text: Raw, type: Any) -> Found | None:
    """Where and why `text` does not match `type`; None if it matches."""
    try:
        msgspec.json.decode(text, type=type)
    except ValidationError as error:
        return _locate_inside(text, type) or ("", str(error))
    return None


def _locate_inside(text: Raw, type: Any) -> Found | None:
    """Where and why a member or an item of `text` is invalid; None if none of them is."""
    if opening(text) == b"[":
        for index, one in enumerate((_item(type) is not None and first_items(text)) or ()):
            if found := _locate(one, _item(type)):
                return f"[{index}]{found[0]}", found[1]
        return None
    variants = _variants(type)
    if opening(text) != b"{" or not variants:
        return None
    struct = _variant(text, type)
    if struct is None:
        return f".{variants[0].__struct_config__.tag_field}", "missing or unknown type"
    try:
        members = _members(text, struct)
    except ValidationError:
        return _unknown(text, struct)
    for field in msgspec.structs.fields(struct):
        if field.encode_name not in members:
            if field.required:
                return _step(field.encode_name), f"missing required member `{field.encode_name}`"
        elif found := _locate(members[field.encode_name], field.type):
            return _step(field.encode_name) + found[0], found[1]
    return None


def _unknown(text: Raw, struct: type[Struct]) -> Found:
    """A member that `struct` does not have. Not named if there are very many, since each would allocate an object."""
    if memoryview(text).nbytes > _MANY and bytes(text).count(b":") > _MANY:
        return "", "unknown member"
    known = _names(struct)
    unknown = [name for name in msgspec.json.decode(text, type=dict[str, Raw]) if name not in known]
    name = min(unknown, key=lambda name: name in IGNORED_MEMBERS)
    return _step(name), f"unknown member `{name}`"


def _members(text: Raw, struct: type[Struct], more: Sequence[str] = ()) -> dict[str, Raw]:
    """The members of an object as JSON text. Raises ValidationError if one is neither in `struct` nor in `more`."""
    names, decoder = _outline(struct, tuple(more))
    return {
        name: value for name, value in zip(names, msgspec.structs.astuple(decoder.decode(text)), strict=True) if value
    }


@functools.cache
def _outline(struct: type[Struct], more: tuple[str, ...]) -> tuple[list[str], msgspec.json.Decoder[Any]]:
    """A decoder that keeps each member as JSON text, so that a hostile text cannot make memory grow."""
    names = list(dict.fromkeys([*_names(struct), *more]))
    fields = [(f"member{index}", Raw, Raw()) for index in range(len(names))]
    rename = {field: name for (field, _, _), name in zip(fields, names, strict=True)}
    outline = msgspec.defstruct("_Outline", fields, rename=rename, forbid_unknown_fields=True)
    return names, msgspec.json.Decoder(outline)


def _names(struct: type[Struct]) -> list[str]:
    """The names of a struct's members on the wire."""
    tag = struct.__struct_config__.tag_field
    return [*([tag] if tag else []), *(field.encode_name for field in msgspec.structs.fields(struct))]


def _variant(text: Raw, type: Any) -> "type[Struct] | None":
    """The struct for the object `text`: the only one that the type allows, or the one with its tag."""
    variants = _variants(type)
    if len(variants) <= 1:
        return variants[0] if variants else None
    config = variants[0].__struct_config__
    tag = msgspec.json.decode(text, type=_tag(str(config.tag_field))).tag
    return next((one for one in variants if one.__struct_config__.tag == id_key(tag)), None)


@functools.cache
def _tag(field: str) -> Any:
    return msgspec.defstruct("_Tag", [("tag", Raw, Raw())], rename={"tag": field})


def _variants(type: Any) -> list[type[Struct]]:
    """All structs that a type allows."""
    type = _bare(type)
    if get_origin(type) in (Union, UnionType):
        return [variant for one in get_args(type) for variant in _variants(one)]
    return [type] if isinstance(type, _TYPE) and issubclass(type, Struct) else []


def _item(type: Any) -> Any:
    """The type of an array's items, or None if `type` is not an array."""
    type = _bare(type)
    return get_args(type)[0] if get_origin(type) in (list, collections.abc.Sequence) else None


def _bare(type: Any) -> Any:
    return _bare(get_args(type)[0]) if get_origin(type) is Annotated else type


def _step(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"[{json.dumps(name, ensure_ascii=False)}]"


_TYPE: Final = type
