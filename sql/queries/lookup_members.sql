-- For deciding: the live threads of a project.
SELECT id FROM projection_threads WHERE project_id = :project AND deleted = 0 ORDER BY version;
