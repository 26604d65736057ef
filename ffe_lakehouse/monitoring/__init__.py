"""What is told about the state of the lakehouse: freshness, incidents, alerts."""
