-- The threads whose events take the most bytes; deleted threads have no title. Reads the whole log: only for
-- `treadle stats`.
SELECT e.thread_id, (SELECT title FROM projection_threads WHERE id = e.thread_id AND deleted = 0) AS title,
       count(*) AS events, sum(length(CAST(e.payload AS BLOB))) AS bytes
FROM events AS e WHERE e.thread_id IS NOT NULL GROUP BY e.thread_id ORDER BY bytes DESC, e.thread_id LIMIT :limit;
