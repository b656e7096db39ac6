-- The folder of every project, those of deleted projects included.
SELECT id, path FROM projection_projects;
