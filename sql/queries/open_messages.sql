-- How far the text of a thread's open messages has come: the last chunk, and the text.
SELECT m.id, m.sequence, coalesce((SELECT max(c.sequence) FROM message_chunks AS c WHERE c.message = m.sequence), 0)
    AS chunk, t.text
FROM projection_messages AS m JOIN message_texts AS t ON t.sequence = m.sequence
WHERE m.thread_id = :thread AND m.status = 'streaming';
