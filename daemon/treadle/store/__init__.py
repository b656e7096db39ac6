"""SQLite: the event log and its projections."""
