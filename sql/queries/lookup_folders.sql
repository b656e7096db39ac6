-- For the decider: the folders of this machine for the live projects of a shared log.
SELECT f.path, p.id FROM project_folders AS f CROSS JOIN projection_projects AS p ON p.id = f.project_id
WHERE p.deleted = 0;
