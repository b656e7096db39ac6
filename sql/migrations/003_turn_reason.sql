-- Why a turn was interrupted. Before this, stop_reason held that as well as what the agent said.

ALTER TABLE projection_turns ADD COLUMN reason TEXT;
