"""The parts of one connection, wired together."""
