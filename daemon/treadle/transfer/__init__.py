"""Import and export: the log as JSON Lines; recordings of agents and the histories of other tools as commands.

Imports `agents`, `core`, `store`, `contract` and `domain`. Output for the command line belongs in `cli`.
"""
