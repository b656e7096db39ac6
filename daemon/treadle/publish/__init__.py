"""Who is told what: subscriptions, which entities an event touched, and noticing what other processes append.

Imports `store`, `contract` and `domain`. Nothing that writes to the log comes in.
"""
