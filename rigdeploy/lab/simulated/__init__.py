"""Tools that run inside a twin in place of the real ones. Each file stands alone: Python 3.9, standard library."""
