"""The transport: connecting, streams and WebSocket frames. It knows no JSON and starts no thread."""
