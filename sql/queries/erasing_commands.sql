-- The commands that erase again what was erased of a thread: all of it, or what was redacted, in their order.
SELECT iif(
  x.whole, json_object('type', 'EraseThread', 'threadId', x.thread_id),
  json_object('type', 'Redact', 'threadId', x.thread_id, 'events', (
    SELECT json_group_array(json_object(
      'sequence', v.value -> '$.sequence', 'members', json(json_remove(v.value -> '$.event', '$.redacted'))
    ))
    FROM events AS r, json_each(r.payload, '$.events') AS v WHERE r.sequence = x.sequence
  ))
) AS command
FROM erasures AS x
WHERE x.thread_id = :thread
  AND (x.whole OR NOT EXISTS (SELECT 1 FROM erasures AS o WHERE o.thread_id = :thread AND o.whole))
ORDER BY x.sequence;
