-- For the decider: the threads of a project that are not deleted.
SELECT id FROM projection_threads WHERE project_id = :project AND deleted = 0 ORDER BY version;
