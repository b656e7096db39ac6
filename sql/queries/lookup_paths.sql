-- For the decider: the project that has a path, if it is not deleted.
SELECT p.path, p.id FROM json_each(:keys) AS k
JOIN projection_projects AS p ON p.path = k.value ->> 1 AND p.deleted = 0;
