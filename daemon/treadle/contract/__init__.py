"""The wire as data: methods, params, results, errors, framing and their schema, shared by server, client and docs.

Imports `domain` alone. No handler, no I/O, and nothing that only one side of the wire needs.
"""
