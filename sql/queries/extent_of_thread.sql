-- Where in the log a thread begins, and its last change: nothing of it lies outside.
SELECT sequence, version FROM projection_threads WHERE id = :thread AND deleted = 0;
