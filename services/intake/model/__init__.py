"""``statements``: public events become ours; ``identity``: what tells a person from others."""
