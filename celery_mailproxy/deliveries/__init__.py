"""What is remembered of a mail: its reports, its status, its suspended result; and where that is kept."""
