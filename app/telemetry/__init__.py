"""What is reported of requests and calls: log lines, metrics, timings and traces."""
