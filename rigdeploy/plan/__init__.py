"""What would be done, and why: a declaration and an observation in, phases out. Pure."""
