"""Git remotes of projects: their normal form, which all clones of a repository share."""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS: Final = {"ssh": 22, "git+ssh": 22, "ssh+git": 22, "git": 9418, "http": 80, "https": 443}
LONGEST: Final = 1024  # code points, as of ids.Remote

_SCP = re.compile(r"(?:[^/@]*@)?(\[[^]/@]+\]|[^:/@\[\]]+):(?!:)(.*)")
"""`user@host:path`, as in scp (git-fetch(1), GIT URLS)."""


def normalized_remote(url: str, folder: str = "") -> str | None:
    """The remote for a URL that git fetches from: `example.org/team/app`; with a folder `example.org/team/app//web`.

    Has no user, password or query, which may be secret, and no scheme, default port or `.git`. None if it is a path on
    this machine, or is no URL of git's own transports.
    """
    address = _of_url(url) if "://" in url else _of_scp(url)
    if address is None:
        return None
    host, path = address
    path = "/".join(part for part in path.split("/") if part).removesuffix(".git").rstrip("/")
    if not path or "@" in path:  # what is before the @ may be a password that was not encoded
        return None
    remote = f"{host.lower()}/{path}//{folder}" if folder else f"{host.lower()}/{path}"
    return remote if remote.isprintable() and len(remote) <= LONGEST else None


def _of_url(url: str) -> tuple[str, str] | None:
    """The host, with its port unless that is the default, and the path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in DEFAULT_PORTS or "@" in parts.query + parts.fragment:
        return None
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != DEFAULT_PORTS[parts.scheme]:
        host += f":{port}"
    return host, unquote(parts.path)


def _of_scp(address: str) -> tuple[str, str] | None:
    match = _SCP.fullmatch(address)
    return None if match is None else (match[1], match[2])
