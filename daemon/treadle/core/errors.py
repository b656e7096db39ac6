"""Tells exceptions that end a task from those that are the error of one request."""

import asyncio


def is_exit(error: BaseException) -> bool:
    """Whether the exception asks a task or the process to end.

    Libraries raise other BaseExceptions too: a library written in Rust raises PyO3's PanicException. A panic is a bug
    in the library, like an Exception, and ends only the request.
    """
    return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit)
