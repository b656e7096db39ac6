-- projection_projects, by id: ProjectCreated, ProjectUpdated, ProjectDeleted.

CREATE TRIGGER projection_projects_created INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ProjectCreated' BEGIN
  INSERT INTO projection_projects (sequence, id, name, path, remote, created_at, updated_at)
  VALUES (NEW.sequence, NEW.payload ->> '$.id', NEW.payload ->> '$.name', NEW.payload ->> '$.path',
          NEW.payload ->> '$.remote', NEW.at, NEW.at);
END;

CREATE TRIGGER projection_projects_updated INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ProjectUpdated' BEGIN
  UPDATE projection_projects
  SET name = coalesce(NEW.payload ->> '$.name', name), path = coalesce(NEW.payload ->> '$.path', path),
      remote = coalesce(NEW.payload ->> '$.remote', remote), updated_at = max(updated_at, NEW.at)
  WHERE id = NEW.payload ->> '$.id';
END;

CREATE TRIGGER projection_projects_deleted INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'ProjectDeleted' BEGIN
  UPDATE projection_projects SET deleted = 1, updated_at = max(updated_at, NEW.at)
  WHERE id = NEW.payload ->> '$.id';
END;

-- path: in a shared log, the folder of this machine.
CREATE VIEW project_entities AS
  SELECT sequence, id, json_object(
    'sequence', sequence, 'id', id, 'name', name,
    'path', coalesce(path, (SELECT f.path FROM project_folders AS f WHERE f.project_id = projection_projects.id)),
    'remote', remote, 'createdAt', created_at, 'updatedAt', updated_at
  ) AS value
  FROM projection_projects WHERE deleted = 0;
