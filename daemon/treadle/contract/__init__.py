"""The wire as data: methods, params, results, errors, framing and their schema, shared by server, client and docs.

Imports only `domain`. Contains no handler, no I/O, and nothing that only one side of the wire needs.
"""
