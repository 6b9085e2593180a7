"""The only place that opens media files. Knows no network."""
