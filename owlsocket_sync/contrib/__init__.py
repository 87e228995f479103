"""Where the client is at home in other frameworks; each module needs the extra of its name."""
