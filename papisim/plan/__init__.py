"""What a step of the model consists of on a machine: phases, their layout, and the pipeline they run in."""
