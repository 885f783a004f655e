"""What helps to set a project up: the parts of the system checks and of `mailproxy_setup`."""
