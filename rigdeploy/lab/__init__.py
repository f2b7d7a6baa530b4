"""The twins: a virtual copy of any declared build."""
