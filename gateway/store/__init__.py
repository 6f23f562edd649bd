"""Where the configuration comes from and how it is held: `configuration` in memory, `declarative` from a
file."""
