-- Settings by key, after :after.
SELECT key AS position, value FROM setting_entities WHERE key > :after ORDER BY key LIMIT :limit;
