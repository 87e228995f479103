"""The echo servers; each is a process that ends when its parent does."""
