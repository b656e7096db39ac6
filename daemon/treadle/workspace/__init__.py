"""The folders of projects: which project a folder belongs to, also after it was moved, and snapshots of its files.

Imports `core`, `store` and `domain`. Only this package reads the file system of projects and runs git.
"""
