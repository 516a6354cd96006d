"""``events``: the hot door for municipal systems; ``persons``: duplicates, for advisers."""
