-- The sequence of the log, and up to which erasure all bytes are known to be gone.
SELECT coalesce((SELECT max(sequence) FROM events), 0) AS sequence,
       coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'purge'), 0) AS purged;
