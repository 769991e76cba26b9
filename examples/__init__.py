"""Small programs that show how the sidecar is used. Each is tested."""
