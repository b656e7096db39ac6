"""A log that several machines share, on PostgreSQL: how it is set up, and what a machine may ask of it.

Imported only by what uses a shared log, because psycopg is an extra and takes a quarter of a second to import. The SQL
of the server's side is in sql/postgres. No daemon uses a shared log yet.
"""
