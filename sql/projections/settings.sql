-- settings, by key: SettingChanged (value null: removed).

CREATE TRIGGER settings_changed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'SettingChanged' AND json_type(NEW.payload, '$.value') <> 'null' BEGIN
  INSERT INTO settings (key, sequence, value, updated_at)
  VALUES (NEW.payload ->> '$.key', NEW.sequence, NEW.payload -> '$.value', NEW.at)
  ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;
END;

CREATE TRIGGER settings_removed INSTEAD OF INSERT ON projector
WHEN NEW.event_type = 'SettingChanged' AND json_type(NEW.payload, '$.value') = 'null' BEGIN
  DELETE FROM settings WHERE key = NEW.payload ->> '$.key';
END;

CREATE VIEW setting_entities AS
  SELECT key, json_object('sequence', sequence, 'key', key, 'value', json(value), 'updatedAt', updated_at) AS value FROM settings;
