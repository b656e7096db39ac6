"""What may happen: commands, events, entities, state and the decider that turns commands into events.

Pure: msgspec and the standard library alone. No I/O, no clock, no random ids, no SQL and no JSON-RPC come in.
"""
