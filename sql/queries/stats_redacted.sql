-- The events in a slice of the log that hold a marker of redacted text. Only for `treadle stats`.
SELECT payload FROM events WHERE sequence > :after AND sequence <= :upto AND instr(payload, '[redacted: ') > 0;
