"""Switching rigs on and off: one interface, a driver per way, one policy around them."""
