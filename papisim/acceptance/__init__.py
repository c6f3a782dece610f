"""What speculation yields: how many drafted tokens the target model accepts, and the signals a policy may read."""
