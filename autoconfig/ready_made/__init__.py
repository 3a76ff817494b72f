"""The ready-made handlers: a registry, a filter expander, several handlers in a row, and what these have in common."""
