"""Questions x actions -> outcomes: keys, the cache of facts, and the oracle that fills tables."""
