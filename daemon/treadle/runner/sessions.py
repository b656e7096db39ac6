"""The session of a thread's agent: how it is opened, its options, and its end."""

import msgspec

from treadle.agents.activities import Ids
from treadle.agents.connection import AgentFailed, AgentRefused
from treadle.agents.mapper import AgentSession
from treadle.agents.session import AUTH_REQUIRED, OpenedSession, choose, note_update, open_session
from treadle.agents.shapes import Agent, Json, as_object, kind_of
from treadle.core.engine import Overloaded
from treadle.domain import agent_commands as ac
from treadle.domain import commands as c
from treadle.domain.errors import Rejected
from treadle.runner import signals as s
from treadle.runner.context import Context
from treadle.runner.failures import answer_to
from treadle.runner.limits import TurnLimits
from treadle.runner.recorder import ThreadRecorder
from treadle.runner.tasks import RunnerTasks
from treadle.runner.transcripts import transcript_of
from treadle.runner.usage import TurnUsage
from treadle.store.errors import StorageError
from treadle.store.ids import new_id
from treadle.store.records import ThreadWork


class ThreadSessions:
    """The sessions of one thread, one at a time. loading: until the agent answers, it repeats what was said."""

    def __init__(self, context: Context, tasks: RunnerTasks, recorder: ThreadRecorder, limits: TurnLimits) -> None:
        self._context, self._tasks, self._recorder, self._limits = context, tasks, recorder, limits
        self.loading = False
        self._changes: list[Json] = []  # of options, while a session opens; its answer says what was changed before

    def open(self, output: s.OpenWith) -> None:
        """Open a session."""
        self._tasks.talk(self._open(output), answer_to(output))

    def apply(self, output: s.Apply) -> None:
        """Give the session other options."""
        self._tasks.talk(self._apply(output.options), answer_to(output))

    def close(self, output: s.CloseSession) -> None:
        """Record that the session has ended."""
        process = self._context.process
        status, stderr = (None, []) if process is None else (process.status, process.stderr)
        self._recorder.record(
            ac.EndSession(
                thread_id=self._context.thread_id,
                id=self._context.session_id,
                reason=output.reason,
                exit_status=status,
                stderr="\n".join(stderr) or None,
            )
        )

    def hear(self, update: Json) -> None:
        """Note what an update says of the options."""
        session = self._context.session
        if session is None and kind_of(update) in ("current_mode_update", "config_option_update"):
            self._changes.append(update)
        elif session is not None and note_update(session, update):
            self._tell_options(session)

    async def _open(self, output: s.OpenWith) -> None:
        context = self._context
        process, work, config = context.process, context.work, context.config
        assert process is not None
        assert work is not None
        assert config is not None
        context.session_id = new_id()

        context.mapper = AgentSession(context.agent, context.thread_id, Ids(f".{context.session_id[-8:]}"))
        self.loading = output.how != "new"  # some agents repeat what was said on resuming, too
        self._limits.usage = TurnUsage(total=await self._cost_before(output, work))
        try:
            earlier = await context.earlier(work, config)
            await context.find_folder(work)  # the project may have been moved
            session = await open_session(
                process.connection,
                config,
                output.how,
                context.folder,
                None if earlier is None else earlier.id,
                context.shared.settings().open_seconds,
                answered=lambda: context.put(self._answered),
            )
            if not session.options and output.how in ("resume", "load"):
                session.options = await self._options_before(work, dict(output.options))
            self._note_changes(session)
            try:
                await choose(process.connection, session, dict(output.options))
                self._note_changes(session)
            except AgentFailed as error:
                context.put(s.OpenFailed(str(error)))
                return
        except AgentRefused as error:
            if error.code == AUTH_REQUIRED:
                command = require_auth(context, str(error))
                sequence, _ = await self._recorder.recorded(self._recorder.submit(command), command)
                context.put(s.OpenFailed(str(error), silent=True, sequence=sequence))
            else:
                context.put(s.OpenFailed(context.explained(str(error)), again=True))
            return
        except AgentFailed as error:
            context.put(s.OpenFailed(context.explained(str(error)), again=True))
            return
        except (Rejected, StorageError, Overloaded) as error:
            context.put(s.OpenFailed(f"the session could not be opened: {error}"))
            return
        context.session = session
        try:
            await self._record(session, output, work)
        except (StorageError, Overloaded) as error:
            context.put(s.OpenFailed(f"the session could not be recorded: {error}"))

    async def _record(self, session: OpenedSession, output: s.OpenWith, work: ThreadWork) -> None:
        context = self._context
        lost = output.lost
        if output.how == "new":
            lost = await self._begin_with_transcript(work, lost)
        commands: list[c.Command] = [
            ac.OpenSession(
                thread_id=context.thread_id,
                id=context.session_id,
                agent=context.state.agent,
                release=context.agent.release,
                session_id=session.id[:1024],
                how=output.how,
                capabilities=context.agent.capabilities,
                options=[dict(option) for option in session.options],
            )
        ]
        if lost is not None:
            commands.append(ac.LoseContext(thread_id=context.thread_id, id=context.session_id, reason=lost))
        sequence, accepted = await self._recorder.recorded(self._recorder.submit(*commands), *commands)
        if accepted:
            context.put(s.SessionReady(output.options, sequence))
        else:
            context.put(s.OpenFailed("the thread has a session elsewhere", silent=True, sequence=sequence))

    async def _begin_with_transcript(self, work: ThreadWork, lost: str | None) -> str | None:
        """Put the transcript before the first prompt of a new session, unless this agent had the one before. Return
        what is said of lost context. lost: why an earlier way failed."""
        context, before = self._context, work.session
        if before is not None and before.agent == context.state.agent:
            return lost or "the agent cannot continue a session"
        text = await context.shared.read(lambda reads: transcript_of(reads, work))
        if text is not None:
            context.preface = [_resource(context.thread_id, text, context.agent)]
        if before is None:
            return None if text is not None else lost
        changed = f"the agent was changed from {before.agent} to {context.state.agent}"
        return changed if text is None else f"{changed}; it begins with the transcript"

    async def _options_before(self, work: ThreadWork, wanted: dict[str, str | bool]) -> list[Json]:
        """The options of the session that is continued, for an agent that does not tell them again. Those that the
        thread is to have are set in any case."""
        if work.session is None:
            return []
        context, id = self._context, work.session.id
        found = await context.shared.read(lambda reads: reads.entities("session", context.thread_id, [id]))
        options: list[Json] = msgspec.json.decode(found[id])["options"]
        return [{**one, "currentValue": None} if one["id"] in wanted else one for one in options]

    async def _cost_before(self, output: s.OpenWith, work: ThreadWork) -> float:
        """What the session has cost so far. Agents count on in a session that they continue, and some in a copy."""
        usage = work.usage if output.how in ("resume", "load") else None
        if output.how == "fork" and work.origin is not None and (fork := work.origin.fork_of) is not None:
            source = await self._context.shared.read(lambda reads: reads.work([fork.thread_id]))
            usage = source[0].usage if source else None
        return (usage.cost or 0.0) if usage is not None else 0.0

    def _answered(self) -> None:
        """The agent has answered: what it says from now on is new, and what it changed before is in the answer."""
        self._changes.clear()
        self.loading = False

    def _note_changes(self, session: OpenedSession) -> None:
        for update in self._changes:
            note_update(session, update)
        self._changes.clear()

    async def _apply(self, options: s.Options) -> None:
        process, session = self._context.process, self._context.session
        assert process is not None
        assert session is not None
        try:
            await choose(process.connection, session, dict(options))
        except AgentFailed as error:
            self._context.put(s.Applied(options, str(error)))
        else:
            self._tell_options(session)
            self._context.put(s.Applied(options))

    def _tell_options(self, session: OpenedSession) -> None:
        context = self._context
        options = [dict(option) for option in session.options]
        self._recorder.tell(ac.ChangeSession(thread_id=context.thread_id, id=context.session_id, options=options))


def require_auth(context: Context, reason: str) -> ac.RequireAuth:
    """The command that says that the agent needs a login."""
    return ac.RequireAuth(
        thread_id=context.thread_id,
        agent=context.state.agent,
        reason=reason,
        methods=list(context.agent.auth_methods),
    )


def _resource(thread_id: str, text: str, agent: Agent) -> Json:
    """The transcript of a thread as a content block: embedded where the agent takes that, else as text."""
    if as_object(agent.capabilities.get("promptCapabilities")).get("embeddedContext") is True:
        resource = {"uri": f"treadle://thread/{thread_id}", "mimeType": "text/markdown", "text": text}
        return {"type": "resource", "resource": resource}
    return {"type": "text", "text": text}
