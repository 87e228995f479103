"""How it travels: streams, dialling and WebSocket frames; no JSON, and no thread of its own."""
