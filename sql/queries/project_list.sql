-- Projects that are not deleted, newest first, created before :before.
SELECT sequence AS position, value FROM project_entities WHERE sequence < :before ORDER BY sequence DESC LIMIT :limit;
