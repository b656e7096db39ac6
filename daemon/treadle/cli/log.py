"""`treadle log`: sets up and checks a log that several machines share, on PostgreSQL."""

import argparse
from typing import TYPE_CHECKING, Any

from treadle.cli.options import Commands, add_json

if TYPE_CHECKING:
    from treadle.cli.options import Parser
    from treadle.store.shared.admin import OwnedLog
    from treadle.store.shared.remote import RemoteLog

SERVICE = "a service of ~/.pg_service.conf; never a URL, which would show the password to other users"
MAY = "what it may do; each includes the one before it (default: write)"
LOG = "the name of the log; not needed if the database has only one"
RIGHTS = {"read": "read", "write": "read and write", "erase": "read, write and erase"}
INIT_MORE = """\
Creates the schema `treadle` in the database of the service, owned by its login, and a log without events. If the log
exists already, nothing changes. How to write the service is in docs/teams.md. `treadle clone` makes a data directory
that uses the log.
"""
GRANT_MORE = """\
The role must exist and be able to log in; each person should have one of their own, since every event says which login
appended it. It gets no rights on tables: all that it can call checks what it may do with each log.
"""
REVOKE_MORE = "It counts from the next call of the role on, also on connections that are open."
UPGRADE_MORE = "Run it with the login that ran `treadle log init`. Either all that is missing is applied, or nothing."
STATUS_MORE = """\
A member is shown the logs that their login may use; the owner is shown all logs, with their members and machines. The
exit status is 1 if something is wrong: there is no log, the schema is of another version, or the server may lose events
that it has answered for.
"""


def add(commands: Commands) -> None:
    actions = commands.group("log", "set up and check a log that machines share, on PostgreSQL", "ACTION")

    does = "create a shared log"
    creating = _action(actions, "init", does, run_init, more=INIT_MORE, example="treadle log init team-owner")
    creating.add_argument("--log", metavar="NAME", default="main", help="the name of the log (default: main)")

    does = "let a login read a log, or write to it"
    granting = _action(actions, "grant", does, run_grant, more=GRANT_MORE, example="treadle log grant team-owner ada")
    granting.add_argument("role", metavar="ROLE", help="a role of the server")
    granting.add_argument("--may", choices=["read", "write", "erase"], default="write", help=MAY)

    does = "take away what a login may do with a log"
    revoking = _action(
        actions, "revoke", does, run_revoke, more=REVOKE_MORE, example="treadle log revoke team-owner ada"
    )
    revoking.add_argument("role", metavar="ROLE", help="a role that `treadle log status` lists")
    for action in (granting, revoking):
        action.add_argument("--log", metavar="NAME", help=LOG)

    does = "bring the schema of the server up to date"
    _action(actions, "upgrade", does, run_upgrade, more=UPGRADE_MORE, example="treadle log upgrade team-owner")

    does = "show the shared logs of a server, and whether they can be relied on"
    showing = _action(actions, "status", does, run_status, more=STATUS_MORE, example="treadle log status team-owner")
    add_json(showing, "the same as one JSON text")


def _action(actions: Commands, name: str, does: str, run: Any, *, more: str, example: str) -> "Parser":
    action = actions.add(name, does, run, more=more, example=example)
    action.add_argument("service", metavar="SERVICE", help=SERVICE)
    return action


def run_init(options: argparse.Namespace) -> int:
    from treadle.cli.output import clean
    from treadle.store.shared import admin
    from treadle.store.shared.remote import RemoteLog

    with RemoteLog(options.service) as remote:
        log, is_new = admin.initialize(remote, options.log)
    print(f"{'created' if is_new else 'exists already:'} log {clean(log.name)}, {log.log_id}")
    if is_new:
        print(f"next: treadle log grant {options.service} ROLE")
    return 0


def run_grant(options: argparse.Namespace) -> int:
    from treadle.cli.output import clean
    from treadle.store.shared import admin

    with _owner(options) as remote:
        log = admin.log_named(remote, options.log)
        admin.grant(remote, log, options.role, options.may)
    print(f"{clean(options.role)} may {RIGHTS[options.may]} log {clean(log.name)}")
    return 0


def run_revoke(options: argparse.Namespace) -> int:
    from treadle.cli.output import clean
    from treadle.store.shared import admin

    with _owner(options) as remote:
        log = admin.log_named(remote, options.log)
        admin.revoke(remote, log, options.role)
    print(f"{clean(options.role)} may do nothing with log {clean(log.name)}; copies of it on its machines stay")
    return 0


def run_upgrade(options: argparse.Namespace) -> int:
    from treadle.store.shared import admin
    from treadle.store.shared.remote import RemoteLog

    with RemoteLog(options.service) as remote:
        names = admin.upgrade(remote)
    print(f"applied {', '.join(names)}" if names else "the schema is up to date")
    return 0


def run_status(options: argparse.Namespace) -> int:
    import msgspec

    import treadle.cli.output as output
    from treadle.store.shared.remote import RemoteLog

    with RemoteLog(options.service) as remote:
        found = _status(remote)
    if options.json:
        output.print_json(msgspec.json.encode(found))
    else:
        _print(found)
    return 1 if found["problems"] else 0


def _owner(options: argparse.Namespace) -> "RemoteLog":
    """A connection of the owner. Raises UserError if the login is another one, or the schema is not up to date."""
    from treadle.store.errors import UserError
    from treadle.store.shared import admin
    from treadle.store.shared.remote import RemoteLog

    remote = RemoteLog(options.service)
    try:
        admin.check_owner(remote)
        if admin.pending(remote):
            raise UserError("the schema is of an older treadle: run `treadle log upgrade` first")
    except BaseException:
        remote.close()
        raise
    return remote


def _status(remote: "RemoteLog") -> dict[str, Any]:
    """What there is to know. Raises StorageError."""
    from treadle.store.errors import Refused
    from treadle.store.shared import admin

    server = admin.server(remote)
    problems = []
    if server.number < admin.OLDEST:
        problems.append(f"PostgreSQL {server.version} is too old: a shared log needs 14 or newer")
    if not server.is_durable:
        problems.append("fsync is off, or synchronous_commit is `off` or `local`: a crash of the server loses events")
    logs: list[dict[str, Any]] = []
    if server.owner is None:
        problems.append("there is no shared log: its owner creates one with `treadle log init`")
    elif server.owns:
        try:
            if admin.pending(remote):
                problems.append("the schema is of an older treadle: run `treadle log upgrade`")
        except Refused as error:
            problems.append(str(error))
        else:
            logs = [_of_owner(remote, log) for log in admin.owned_logs(remote)]
    else:
        logs = [
            {"logId": str(log.log_id), "name": log.name, "head": log.head, "format": log.format, "may": log.may}
            for log in remote.logs()
        ]
        if not logs:
            problems.append("this login may use no log: ask the owner for `treadle log grant`")
    return {
        "service": remote.service,
        "server": server.version,
        "login": server.login,
        "owner": server.owner,
        "logs": logs,
        "problems": problems,
    }


def _of_owner(remote: "RemoteLog", log: "OwnedLog") -> dict[str, Any]:
    from treadle.store.shared import admin

    return {
        "logId": str(log.log_id),
        "name": log.name,
        "head": log.head,
        "members": [{"role": member.role, "may": member.may} for member in admin.members(remote, log)],
        "machines": [
            {
                "machineId": one.machine_id,
                "login": one.login,
                "applied": one.applied,
                "seen": one.seen,
                "isThere": one.is_there,
            }
            for one in admin.machines(remote, log)
        ],
    }


def _print(found: dict[str, Any]) -> None:
    import treadle.cli.output as output

    paint = output.Paint()
    version, login = output.one_line(found["server"]), output.one_line(found["login"])
    print(f"service  {found['service']}: PostgreSQL {version}, as {login}")
    for log in found["logs"]:
        may = f", this login may {log['may']}" if "may" in log else ""
        print(f"log      {output.one_line(log['name'])}: {log['head']:,} events{may} ({log['logId']})")
        for member in log.get("members", ()):
            print(f"member   {output.one_line(member['role'])}: {member['may']}")
        for machine in log.get("machines", ()):
            state = "there" if machine["isThere"] else f"away, last seen {output.one_line(machine['seen'])}"
            whose = f"{output.one_line(machine['machineId'])} of {output.one_line(machine['login'])}"
            print(f"machine  {whose}: {state}, has {machine['applied']:,} events")
    for problem in found["problems"]:
        print(f"{paint('red', 'problem')}  {output.one_line(problem)}")
