"""What an application does to mails that it has handed over: cancelling them, and pausing them in the proxy."""
