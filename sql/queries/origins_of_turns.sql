-- Turns as those to whom lines of a file are ascribed: their thread, its agent at that time, the start of their prompt.
SELECT u.thread_id, u.id, t.title, u.started_at, (
    SELECT s.agent FROM projection_sessions AS s INDEXED BY idx_sessions_thread
    WHERE s.thread_id = u.thread_id AND s.sequence < u.sequence ORDER BY s.sequence DESC LIMIT 1
  ), (
    SELECT nullif(substr(x.text, 1, 1000), '') FROM message_texts AS x WHERE x.sequence = (
      SELECT m.sequence FROM projection_messages AS m INDEXED BY idx_messages_thread
      WHERE m.thread_id = u.thread_id AND m.sequence > u.sequence AND m.turn_id = u.id AND m.role = 'user'
      ORDER BY m.sequence LIMIT 1
    )
  )
FROM json_each(:keys) AS k
CROSS JOIN projection_turns AS u ON u.thread_id = k.value ->> 0 AND u.id = k.value ->> 1
CROSS JOIN projection_threads AS t ON t.id = u.thread_id;
