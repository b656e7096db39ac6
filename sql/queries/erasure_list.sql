-- The newest erasures, of one thread or of all, with how many events lost their texts.
SELECT x.thread_id, x.sequence, x.whole, iif(
  x.whole, (SELECT count(*) FROM events AS e WHERE e.thread_id = x.thread_id AND e.sequence < x.sequence),
  (SELECT json_array_length(r.payload, '$.events') FROM events AS r WHERE r.sequence = x.sequence)
) AS events, x.searched
FROM erasures AS x
WHERE :thread IS NULL OR x.thread_id = :thread
ORDER BY x.sequence DESC LIMIT :limit;
