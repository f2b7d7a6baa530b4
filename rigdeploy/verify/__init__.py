"""Rules: a declaration and an observation in, findings out. Pure."""
