-- The folders of this machine for projects of a shared log: an object of paths by project id. A project has one folder, and a
-- folder one project: the one that it was given to last.
INSERT OR REPLACE INTO project_folders (project_id, path) SELECT key, value FROM json_each(:folders);
