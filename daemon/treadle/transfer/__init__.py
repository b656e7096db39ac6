"""Import and export: the log as JSON Lines, and agent recordings as commands.

Imports `agents`, `core`, `store`, `contract` and `domain`. Output for the command line belongs in `cli`.
"""
