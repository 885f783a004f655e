"""Settings: the one package that reads configuration."""
