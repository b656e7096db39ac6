"""The one writer: queue, group commit, coalescing of deltas, idempotency, and recovery of turns.

Imports `store`, `contract` and `domain`. Contains no SQL, and nothing about clients or the wire.
"""
