"""Runs agents: for each thread that has one, a process that answers the prompts in the thread's queue.

The log is the command bus. Whatever a client wants is a command, whichever daemon it was sent to; a runner looks at
what the log says of its thread and does what is missing. What an agent is, and how to talk to one, belongs in `agents`.
"""
