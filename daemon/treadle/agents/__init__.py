"""The Agent Client Protocol (ACP): maps what an agent said to commands.

Imports only `domain`. Reading files and submitting commands belong in `transfer`.
"""
