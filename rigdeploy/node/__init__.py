"""What runs on a node and what it saw: the probe, and the observation it prints."""
