"""The web application that both services share: errors, pages, bounds on bodies, and telemetry."""
