-- Notes that all bytes up to the erasure at :sequence are gone.
INSERT INTO meta (key, value) VALUES ('purge', CAST(:sequence AS TEXT))
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
