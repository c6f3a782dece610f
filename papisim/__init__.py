"""papisim: LLM decoding on heterogeneous machines of GPUs and processing-in-memory."""

__version__ = "0.1.0"
