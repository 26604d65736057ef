"""Rules of time, incidents and their telling."""
