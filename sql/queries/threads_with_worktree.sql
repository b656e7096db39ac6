-- The ids of the threads whose worktree was made and not removed, also of deleted threads.
SELECT id FROM projection_threads INDEXED BY idx_threads_worktree WHERE worktree ->> '$.path' IS NOT NULL ORDER BY id;
