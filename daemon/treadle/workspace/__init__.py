"""The folders of projects: which project a folder belongs to, also after it was moved.

Imports `core`, `store` and `domain`. git and the file system are looked at here and nowhere else.
"""
