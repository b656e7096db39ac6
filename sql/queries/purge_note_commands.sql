-- Notes what the next start is to erase.
INSERT INTO meta (key, value) VALUES ('eraseAgain', :commands)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
