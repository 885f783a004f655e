"""Settings: the one room that reads configuration."""
