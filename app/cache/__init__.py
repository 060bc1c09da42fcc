"""Kept answers of one process: in memory, as records, and in a snapshot file.

Knows entries and bytes. Must not know freshness rules, nor what is asked.
"""
