"""What the state machine of a runner is told if something that it asked for fails unexpectedly. Pure.

First `Exited`, with the reason: it ends the agent and its turn. Then an answer, or the machine would wait for ever.
"""

from treadle.runner import signals as s
from treadle.store.errors import StorageError

FAILED = "treadle failed: see its log"


def exit_of(error: BaseException) -> s.Exited:
    """Why the agent is ended, for those who use it."""
    return s.Exited(f"treadle failed: {error}" if isinstance(error, StorageError) else FAILED)


def answer_to(output: s.Output) -> s.Input | None:
    """The answer to an output that failed; None if the machine does not wait for one."""
    match output:
        case s.Start():
            return s.StartFailed(FAILED)
        case s.OpenWith():
            return s.OpenFailed(FAILED)
        case s.Apply(options):
            return s.Applied(options, FAILED)
        case s.Begin():
            return s.NotBegun(s.View())  # older than the last one
        case s.Steer():
            return s.Steered(0, injected=False)
        case _:
            return s.Recorded(0) if isinstance(output, s.RECORDS) else None
