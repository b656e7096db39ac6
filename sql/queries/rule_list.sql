-- Rules that were not removed, newest first, added before :before.
SELECT sequence AS position, value FROM rule_entities WHERE sequence < :before ORDER BY sequence DESC LIMIT :limit;
