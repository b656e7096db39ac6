-- What the next start is to erase.
SELECT value FROM meta WHERE key = 'eraseAgain';
