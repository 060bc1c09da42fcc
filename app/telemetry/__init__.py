"""What is told of requests and calls: log lines, metrics, timings and traces."""
