-- The events that the one at :sequence has rewritten: what they touched is touched again.
SELECT k.value ->> '$.event.type', k.value ->> '$.event.id'
FROM events AS e, json_each(e.payload, '$.events') AS k WHERE e.sequence = :sequence;
