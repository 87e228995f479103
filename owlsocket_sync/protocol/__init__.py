"""The conversation: a module for each family of messages; no socket, no thread, no sleep."""
