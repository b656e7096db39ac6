"""Histories in and out: the log as JSON Lines, and recordings of agents as commands.

Imports `agents`, `core`, `store`, `contract` and `domain`. What only a command line prints stays in `cli`.
"""
