"""Acting: the probe over SSH, playbooks through ansible-runner, the ledger and the locks."""
