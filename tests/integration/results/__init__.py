"""Results that follow the mail: campaigns, and what dies on the way. See `canvas` for every construct."""
