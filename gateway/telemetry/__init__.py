"""What the gateway counts, shown to Prometheus: declarations, collection from shared memory, text format."""
