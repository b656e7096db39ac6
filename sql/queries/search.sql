-- Matches of :query among the 1,000 newest of each kind from :since to :upto, best first. The bound keeps a common word in a
-- long history from blocking other searches; CROSS JOIN keeps the word index as the outer loop, in row order.
WITH threads AS (
  SELECT 'thread' AS entity, t.sequence, t.id, t.id AS thread_id, NULL AS turn_id, t.project_id, t.title AS thread_title, s.rank
  FROM thread_search AS s CROSS JOIN projection_threads AS t ON t.sequence = s.rowid
  WHERE s.thread_search MATCH :query AND s.rowid BETWEEN :since AND :upto
    AND (:project IS NULL OR t.project_id = :project) AND (:thread IS NULL OR t.id = :thread)
  ORDER BY s.rowid DESC LIMIT 1000
), messages AS (
  SELECT 'message' AS entity, m.sequence, m.id, m.thread_id, m.turn_id, t.project_id, t.title AS thread_title, s.rank
  FROM message_search AS s CROSS JOIN projection_messages AS m ON m.sequence = s.rowid
    CROSS JOIN projection_threads AS t ON t.id = m.thread_id
  WHERE s.message_search MATCH :query AND s.rowid BETWEEN :since AND :upto
    AND (:project IS NULL OR t.project_id = :project) AND (:thread IS NULL OR t.id = :thread)
  ORDER BY s.rowid DESC LIMIT 1000
), activities AS (
  SELECT 'activity' AS entity, a.sequence, a.id, a.thread_id, a.turn_id, t.project_id, t.title AS thread_title, s.rank
  FROM activity_search AS s CROSS JOIN projection_activities AS a ON a.sequence = s.rowid
    CROSS JOIN projection_threads AS t ON t.id = a.thread_id
  WHERE s.activity_search MATCH :query AND s.rowid BETWEEN :since AND :upto
    AND (:project IS NULL OR t.project_id = :project) AND (:thread IS NULL OR t.id = :thread)
  ORDER BY s.rowid DESC LIMIT 1000
)
SELECT entity, sequence, id, thread_id, turn_id, project_id, thread_title, rank FROM threads
UNION ALL SELECT entity, sequence, id, thread_id, turn_id, project_id, thread_title, rank FROM messages
UNION ALL SELECT entity, sequence, id, thread_id, turn_id, project_id, thread_title, rank FROM activities
ORDER BY rank, sequence DESC LIMIT :limit OFFSET :offset;
