-- The number of entities of each kind. Reads an index of each table: only for `treadle stats`.
SELECT (SELECT count(*) FROM projection_projects WHERE deleted = 0) AS projects,
       (SELECT count(*) FROM projection_threads WHERE deleted = 0) AS threads,
       (SELECT count(*) FROM projection_threads WHERE deleted = 0 AND archived_at IS NOT NULL) AS archivedThreads,
       (SELECT count(*) FROM projection_threads WHERE deleted = 1) AS deletedThreads,
       (SELECT count(*) FROM projection_turns) AS turns,
       (SELECT count(*) FROM projection_turns WHERE status = 'running') AS runningTurns,
       (SELECT count(*) FROM projection_messages) AS messages,
       (SELECT count(*) FROM projection_activities) AS activities,
       (SELECT count(*) FROM projection_approvals) AS approvals,
       (SELECT count(*) FROM projection_approvals WHERE status = 'pending') AS pendingApprovals,
       (SELECT count(*) FROM checkpoints) AS checkpoints,
       (SELECT count(*) FROM settings) AS settings;
