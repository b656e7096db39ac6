-- The streaming messages of a thread: the last chunk of each, and its text so far.
SELECT m.id, m.sequence, coalesce((SELECT max(c.sequence) FROM message_chunks AS c WHERE c.message = m.sequence), 0)
    AS chunk, t.text
FROM projection_messages AS m INDEXED BY idx_messages_open JOIN message_texts AS t ON t.sequence = m.sequence
WHERE m.thread_id = :thread AND m.status = 'streaming';
