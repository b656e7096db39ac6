-- The text of a streaming message that came in events after :after.
SELECT p.sequence, t.text FROM parts AS p CROSS JOIN message_parts AS t ON t.sequence = p.sequence
WHERE p.entity = :message AND p.member = '' AND p.sequence > :after ORDER BY p.sequence;
