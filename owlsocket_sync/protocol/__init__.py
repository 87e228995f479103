"""What is said: one room for each family of messages; no socket, no thread, no sleep."""
