-- It was erased.
DELETE FROM meta WHERE key = 'eraseAgain';
