-- The threads whose events have the most bytes; without a title those that were deleted. Reads the whole log: for
-- `treadle stats` alone.
SELECT e.thread_id, (SELECT title FROM projection_threads WHERE id = e.thread_id AND deleted = 0) AS title,
       count(*) AS events, sum(length(CAST(e.payload AS BLOB))) AS bytes
FROM events AS e WHERE e.thread_id IS NOT NULL GROUP BY e.thread_id ORDER BY bytes DESC, e.thread_id LIMIT :limit;
