"""A data directory: `ports` defines its interface to the rest of treadle; `sqlite` implements it.

`shared` is for a log that several machines share, on PostgreSQL, which nothing implements `ports` with yet.

Imports `domain` and `contract`. SQL and sqlite3 belong only in a subpackage; rules about commands do not belong here.
"""
