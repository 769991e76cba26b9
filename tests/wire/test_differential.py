"""Whatever is sent, both ends of the wire see through the sidecar what they would see without it, but for a published list."""
