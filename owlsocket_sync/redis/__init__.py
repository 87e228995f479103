"""The link to a Redis, for all that keeps something there: durable queues, hubs, and one-time values."""
