-- How many events there are, and between which sequences. Reads the whole log: for `treadle doctor` alone.
SELECT count(*), min(sequence), max(sequence) FROM events;
