"""The pure core: what may happen, and what has."""
