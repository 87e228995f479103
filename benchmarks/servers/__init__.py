"""The echo servers, each in a process of its own, which ends with the process that started it."""
