"""The threads of a connection: reading, writing, reconnecting, and running handlers."""
