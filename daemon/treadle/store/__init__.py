"""A data directory: `ports` defines its interface to the rest of treadle; each subpackage implements it.

Imports `domain` and `contract`. SQL and sqlite3 belong only in a subpackage; rules about commands do not belong here.
"""
