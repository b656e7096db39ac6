"""Which connections to PostgreSQL are safe to send a password and a log over. No I/O."""

from collections.abc import Mapping
from ipaddress import ip_address

from treadle.store.errors import Refused, UserError


def check_service(service: str) -> None:
    """Refuse what is not the plain name of a libpq service. Raises UserError, which does not repeat it."""
    if not service or any(character.isspace() or character in "=/:@'\\[]" for character in service):
        raise UserError(
            "SERVICE is the name of a service in ~/.pg_service.conf, not a connection string or URL: other users "
            "can see arguments, and a password in them"
        )


def check_transport(options: Mapping[str, str]) -> None:
    """Refuse a connection that could be read or answered by someone else. options: the settings of libpq by name.

    Raises Refused if the server is on another machine and its certificate is not verified.
    """
    hosts, addresses = _listed(options.get("host", "")), _listed(options.get("hostaddr", ""))
    count = max(len(hosts), len(addresses))
    hosts += [""] * (count - len(hosts))
    addresses += [""] * (count - len(addresses))
    is_local = all(_is_local(address or host) for host, address in zip(hosts, addresses, strict=True))
    if not is_local and options.get("sslmode") != "verify-full":
        raise Refused(
            "the service has a server on another machine without sslmode=verify-full, so others could read the log or "
            "pose as the server: set sslmode=verify-full and sslrootcert=system (or a file) in ~/.pg_service.conf",
            "logInsecure",
        )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _is_local(host: str) -> bool:
    """Whether it is a socket (a path, an abstract name, or nothing at all) or this machine itself."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
