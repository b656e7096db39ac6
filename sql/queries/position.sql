-- How long the log is, and what filled the projections.
SELECT (SELECT coalesce(max(sequence), 0) FROM events) AS sequence,
       (SELECT value FROM meta WHERE key = 'projectionVersion') AS projection_version;
