"""What is told of decisions and calls: metrics, log lines and traces."""
