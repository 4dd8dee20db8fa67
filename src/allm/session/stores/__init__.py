"""Keeping sessions: versions, leases, journals and the databases."""
