-- Keeps what was found after the erasure at :sequence.
UPDATE erasures SET searched = :searched WHERE sequence = :sequence;
