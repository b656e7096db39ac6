"""A data directory: `ports` defines its interface to the rest of treadle, `records` what goes through that.

`sqlite` implements it. With `shared`, the log is one that several machines share, on PostgreSQL, and the data directory
a replica of it.

Imports `domain` and `contract`. SQL and sqlite3 belong only in a subpackage; rules about commands do not belong here.
"""
