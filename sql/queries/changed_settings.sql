-- The settings with these keys.
SELECT k.value AS id, e.value FROM json_each(:ids) AS k CROSS JOIN setting_entities AS e ON e.key = k.value;
