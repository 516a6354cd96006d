"""``arrivals``: what systems emit becomes events; ``persons``: who may be the same person."""
