"""A command that is told to end does so, also where what tells it is dropped, and its clean-up is not interrupted."""

import os
import signal
import time

import pytest

from papisim.cli._faults import Terminated, stopping_on_sigterm


def wait(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        time.sleep(0.01)


def test_a_command_whose_code_drops_the_exception_is_told_again():
    def work() -> None:
        with stopping_on_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                wait(5)
            except Terminated:
                pass  # as compiled modules do while they are imported
            wait(5)

    with pytest.raises(Terminated):
        work()


def test_cleaning_up_is_not_interrupted_by_a_second_signal_nor_by_time():
    cleaned = []

    def work() -> None:
        with stopping_on_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                wait(5)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                wait(0.5)
                try:
                    raise OSError("a file that is gone")
                except OSError:
                    wait(0.5)
                cleaned.append(True)

    with pytest.raises(Terminated):
        work()
    assert cleaned


def test_what_the_signals_did_before_they_do_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with stopping_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
