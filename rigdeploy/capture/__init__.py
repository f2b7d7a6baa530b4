"""From what was observed to what can be declared: (observation, catalogue) -> build, and how a build differs. Pure."""
