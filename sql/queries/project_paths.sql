-- The folder of every project on this machine, those of deleted projects included; NULL if a project of a shared log has none.
SELECT id, coalesce(path, (SELECT f.path FROM project_folders AS f WHERE f.project_id = projection_projects.id))
FROM projection_projects;
