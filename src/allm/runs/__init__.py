"""Bulk runs: many inputs, asked with bounded memory, kept in a journal; `allm.bulk` opens one."""
