"""The declaration: models, loader, lint, secrets, and the shipped catalogue. No network, process or clock."""
