"""A chat endpoint behind a sidecar; docs/users/chat-endpoint.md tells what it shows."""
