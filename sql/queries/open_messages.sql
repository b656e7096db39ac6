-- The streaming messages of a thread: the last event that added to each, and its text so far.
SELECT m.id, m.sequence, (SELECT max(p.sequence) FROM parts AS p WHERE p.entity = m.sequence) AS chunk, t.text
FROM projection_messages AS m INDEXED BY idx_messages_open JOIN message_texts AS t ON t.sequence = m.sequence
WHERE m.thread_id = :thread AND m.status = 'streaming';
