"""The Agent Client Protocol (ACP): the processes of agents, what is said to them, and what they say as commands.

Imports `contract` for framing and `domain` for commands. Submitting commands, and files other than `agents.json` and
recordings, belong in `transfer` or `cli`.
"""
