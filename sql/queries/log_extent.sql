-- The number of events and their first and last sequence. Reads the whole log: only for `treadle doctor`.
SELECT count(*), min(sequence), max(sequence) FROM events;
