-- For the decider: which rules exist, and which were removed.
SELECT r.id, r.removed FROM json_each(:keys) AS k JOIN projection_rules AS r ON r.id = k.value ->> 1;
