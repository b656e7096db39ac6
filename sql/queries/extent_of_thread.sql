-- The first sequence of a thread and its last change; all its events are between them.
SELECT sequence, version FROM projection_threads WHERE id = :thread AND deleted = 0;
