"""The examples and the tutorial, run as their pages say."""
