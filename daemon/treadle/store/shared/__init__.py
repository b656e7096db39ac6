"""A log that several machines share, on PostgreSQL; each has a replica of it in its data directory.

Imported only by what uses a shared log, because psycopg is an extra and takes a quarter of a second to import; only
config.py and status.py do without it. The SQL of the server's side is in sql/postgres.
"""
