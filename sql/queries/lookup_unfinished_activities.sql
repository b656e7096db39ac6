-- For the decider: the unfinished activities that end with the running turn of a thread.
SELECT id FROM projection_activities INDEXED BY idx_activities_unfinished
WHERE thread_id = :thread AND status IN ('pending', 'running') ORDER BY sequence;
