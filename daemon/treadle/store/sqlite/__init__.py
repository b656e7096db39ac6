"""The data directory on SQLite: the only package that knows SQL, sqlite3 and the files of a data directory.

Nothing about JSON-RPC, clients or agents belongs here.
"""
