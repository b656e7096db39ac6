-- The last sequence, and what a newer treadle may have changed: versions of projections and schema, event types.
SELECT (SELECT coalesce(max(sequence), 0) FROM events) AS sequence,
       (SELECT value FROM meta WHERE key = 'projectionVersion') AS projection_version,
       (SELECT max(version) FROM schema_migrations) AS migration,
       (SELECT json_group_array(event_type) FROM event_types) AS event_types;
