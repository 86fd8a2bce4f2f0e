"""One frozen dataclass a node: the only place where a setting has a default."""
