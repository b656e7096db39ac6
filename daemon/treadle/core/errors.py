"""Which exceptions end a task, and which are the error of one request."""

import asyncio


def is_exit(error: BaseException) -> bool:
    """Whether the exception asks a task or the process to end.

    Libraries raise other BaseExceptions too, such as the panic of one that is written in Rust (PyO3's PanicException):
    a panic is a defect of what was called, as an Exception is.
    """
    return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit | GeneratorExit)
