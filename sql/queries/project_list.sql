-- Live projects, newest first, made before :before.
SELECT sequence AS position, value FROM project_entities WHERE sequence < :before ORDER BY sequence DESC LIMIT :limit;
