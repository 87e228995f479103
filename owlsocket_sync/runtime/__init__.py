"""What keeps a connection alive: reading, writing, reconnecting, and the threads that do it."""
