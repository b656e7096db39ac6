-- For the decider: the paths of all live projects, the oldest project first.
SELECT path, id FROM projection_projects WHERE deleted = 0 ORDER BY sequence;
