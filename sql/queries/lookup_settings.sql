-- For the decider: the values of settings.
SELECT e.key, e.value FROM json_each(:keys) AS k JOIN settings AS e ON e.key = k.value ->> 1;
