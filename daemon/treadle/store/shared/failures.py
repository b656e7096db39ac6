"""What PostgreSQL and libpq say, as errors with a kind and advice. They never show how to connect. No I/O."""

import re

from treadle.store.errors import LogUnavailable, StorageError

UNREACHABLE = "logUnreachable"
FORBIDDEN = "logForbidden"
FULL = "logFull"
REWOUND = "logRewound"
LEASED = "logMachineLeased"
MISSING = "logMissing"
OF_VALUES = "storage"

# By SQLSTATE (PostgreSQL, appendix A), or its class: its first two characters. TR: ours, in sql/postgres.
_BY_STATE = {
    "TR001": (REWOUND, "the shared log was rewound: it lacks events that this machine has"),
    "TR002": (
        LEASED,
        "the data directory is a copy: the other one uses this machineId right now",
    ),
    "42501": (FORBIDDEN, "access is denied: ask the owner of the log for `treadle log grant`"),
    "3F000": (MISSING, "the database has no shared log: its owner creates one with `treadle log init`"),
    "42P01": (
        MISSING,
        "the schema of the server is of an older treadle: its owner runs `treadle log upgrade`",
    ),
    "42883": (
        MISSING,
        "the schema of the server is of an older treadle: its owner runs `treadle log upgrade`",
    ),
    "3D000": (UNREACHABLE, "the database does not exist: check dbname in ~/.pg_service.conf"),
    "28": (UNREACHABLE, "the login was rejected: check user in ~/.pg_service.conf and the password in ~/.pgpass"),
    "53100": (FULL, "the disk of the server is full: tell the one who runs it"),
    "53300": (UNREACHABLE, "the server has no free connection: try again, or raise its max_connections"),
    "25006": (UNREACHABLE, "the server takes no writes: it is a standby"),
    "08": (UNREACHABLE, "the connection was lost"),
    "57P": (UNREACHABLE, "the server is stopping or starting: try again"),
    "40": (UNREACHABLE, "the server undid the transaction because of another one: try again"),
}

# What libpq and the server say before a connection is made, without an SQLSTATE.
_BY_TEXT = (
    (r"definition of service .* not found", "the service is not in ~/.pg_service.conf (or PGSERVICEFILE)"),
    (
        r"no password supplied",
        "the server asks for a password: put it into ~/.pgpass, with mode 0600",
    ),
    (
        r"password authentication failed|role .* does not exist|not permitted to log in|no pg_hba.conf entry",
        "the login was rejected: check user in ~/.pg_service.conf and the password in ~/.pgpass",
    ),
    (r"database .* does not exist", "the database does not exist: check dbname in ~/.pg_service.conf"),
    (r"translate host name", "the name of the host is not known: check host in ~/.pg_service.conf, and the network"),
    (r"certificate|SSL|TLS", "no verified connection: check sslmode and sslrootcert in ~/.pg_service.conf"),
    (r"read-only|read-write", "the server takes no writes: it is a standby"),
    (r"starting up|shutting down|recovery", "the server is stopping or starting: try again"),
    (r"too many (clients|connections)|connection slots", "the server has no free connection: try again"),
    (r"[Tt]ime(d )?out|timeout expired", "the server does not answer: check host and port, and the network"),
    (
        r"refused|No such file",
        "no server is there: check host and port in ~/.pg_service.conf",
    ),
    (r"invalid connection option|syntax error|service file", "~/.pg_service.conf has an error"),
)


def explained(service: str, state: str | None, message: str) -> StorageError:
    """The error for what was said. state: its SQLSTATE, None if it comes from libpq. message: not shown as it is."""
    kind, advice = UNREACHABLE, "the connection failed or was lost"
    if state is not None:
        kind, advice = OF_VALUES, f"the server refused it (SQLSTATE {state})"
        for length in (5, 3, 2):
            if state[:length] in _BY_STATE:
                kind, advice = _BY_STATE[state[:length]]
                break
    else:
        for pattern, meaning in _BY_TEXT:
            if re.search(pattern, message):
                advice = meaning
                break
    made = StorageError if kind == OF_VALUES else LogUnavailable
    return made(f"shared log {service!r}: {advice}", kind)
