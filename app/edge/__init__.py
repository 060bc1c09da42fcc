"""What happens to every request before and after its route: ids, CORS, keys, limits, kept answers.

Must not know resources.
"""
