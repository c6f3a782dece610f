"""Attention as AttAcc's released trace generator and simulator run it: schedule, timing, and the mapping of both."""

from papisim.devices.pim.mapping.attacc_released.schedule import Generator

__all__ = ["Generator"]
