"""The cache of answers: equal requests (exact) and, where a manifest asks for it, similar ones (semantic).

Off unless a feature's manifest says otherwise, apart for each app and feature, and never the reason why a call fails.
See docs/reference/cache.md.
"""
