"""rigdeploy: bring GPU rigs online and verify them against what was declared."""

__version__ = "0.1.0"
