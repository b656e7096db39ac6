-- The stored answers of commands.
SELECT c.command_id, c.digest, c.first_sequence, c.last_sequence, c.parts FROM json_each(:ids) AS k
JOIN commands AS c ON c.command_id = k.value;
