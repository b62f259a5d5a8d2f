"""Legal controls as data, and the checks that answer them from evidence."""
