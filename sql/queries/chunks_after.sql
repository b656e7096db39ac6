-- The text of a streaming message after a chunk.
SELECT sequence, text FROM message_chunks WHERE message = :message AND sequence > :after ORDER BY sequence;
