"""What one kernel, or one whole step, costs on one device."""
