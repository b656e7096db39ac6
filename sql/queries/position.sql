-- How long the log is, and what may have been changed by a newer treadle: projections, schema, types of events.
SELECT (SELECT coalesce(max(sequence), 0) FROM events) AS sequence,
       (SELECT value FROM meta WHERE key = 'projectionVersion') AS projection_version,
       (SELECT max(version) FROM schema_migrations) AS migration,
       (SELECT json_group_array(event_type) FROM event_types) AS event_types;
