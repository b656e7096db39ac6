"""Whether two requests with one commandId ask for the same thing."""

import hashlib
from typing import Any

import msgspec


def digest(request: Any) -> str:
    """Of a request as decoded JSON: SHA-256 of it with sorted keys, without `commandId` and `expectedVersion`."""
    return hashlib.sha256(msgspec.json.encode(_bare(request), order="deterministic")).hexdigest()


def _bare(request: dict[str, Any]) -> dict[str, Any]:
    bare = {key: value for key, value in request.items() if key not in ("commandId", "expectedVersion")}
    if isinstance(bare.get("commands"), list):
        bare["commands"] = [_bare(command) if isinstance(command, dict) else command for command in bare["commands"]]
    return bare
