"""The admin address: health, metrics, the dashboard, the effective settings, and what is known of a session."""
