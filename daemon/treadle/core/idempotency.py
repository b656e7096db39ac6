"""Tells whether two requests with the same commandId ask for the same thing."""

import hashlib
from typing import Any

import msgspec


def digest(request: Any) -> str:
    """The SHA-256 of a request (decoded JSON) with sorted keys, without `commandId` and `expectedVersion`."""
    return hashlib.sha256(msgspec.json.encode(_bare(request), order="deterministic")).hexdigest()


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in request.items() if key not in ("commandId", "expectedVersion")}
    if isinstance(bare.get("commands"), list):
        bare["commands"] = [_bare(command) if isinstance(command, dict) else command for command in bare["commands"]]
    return bare
