-- The rules with these ids.
SELECT k.value AS id, e.value FROM json_each(:ids) AS k CROSS JOIN rule_entities AS e ON e.id = k.value;
