"""Pictures, videos and files: what every other room reads and writes with."""
