"""Subscriptions: what each client is notified of, which entities events touched, and appends of other processes.

Imports `store`, `contract` and `domain`. Nothing that writes to the log belongs here.
"""
