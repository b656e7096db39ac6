-- The text of an open message that came after a chunk.
SELECT sequence, text FROM message_chunks WHERE message = :message AND sequence > :after ORDER BY sequence;
