"""What work one decode step is: kernels, blocks of kernels, and the traces they were captured into."""
