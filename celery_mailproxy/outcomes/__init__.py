"""What became of mails that the proxy has not reported on: it is asked."""
