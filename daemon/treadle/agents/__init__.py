"""The Agent Client Protocol (ACP): maps what an agent said to commands.

Imports `domain` alone. Reading files and submitting commands is for `transfer`.
"""
