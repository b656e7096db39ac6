"""The domain: commands, events, entities, state, and the decider that turns commands into events.

Pure: imports only msgspec and the standard library. No I/O, clock, random ids, SQL or JSON-RPC belong here.
"""
