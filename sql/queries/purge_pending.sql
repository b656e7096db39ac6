-- The sequence of the last erasure, NULL if there was none, and up to which one all bytes are known to be gone.
SELECT (SELECT max(sequence) FROM erasures) AS last,
       coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'purge'), 0) AS purged;
