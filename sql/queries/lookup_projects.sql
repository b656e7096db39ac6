-- For the decider: projects, including deleted ones.
SELECT p.id, p.name, p.path, p.remote, p.deleted FROM json_each(:keys) AS k
JOIN projection_projects AS p ON p.id = k.value ->> 1;
