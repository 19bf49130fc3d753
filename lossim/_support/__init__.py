"""Tools that know nothing of responses: types, checks, sums along positions."""
