-- For the decider: the paths and remotes of all live projects, the oldest project first.
SELECT path, remote, id FROM projection_projects WHERE deleted = 0 ORDER BY sequence;
