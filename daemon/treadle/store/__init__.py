"""A data directory: `ports` says what the rest of treadle may ask of it, and each package below is one way to keep it.

Imports `domain` and `contract`. SQL and sqlite3 stay below this package; no rule about commands comes in.
"""
