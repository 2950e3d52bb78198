"""Threads that work beside the app: where processors or the GIL are short, they are last.

Python's GIL goes to whoever asks first after it is let go, and a thread that wakes up for it comes
too late where the one that let it go asks again within microseconds, as one that reads rows does.
So such a thread pauses now and then: without that, others may wait for `sys.getswitchinterval()`.
"""

from __future__ import annotations

import os
import sys
import threading
import time

# A third of the processor's time that another thread of the process gets, where both want one: low
# enough for predictions to come first, high enough not to starve with the store's lock in hand.
_NICENESS = 5
_PAUSE_S = 20e-6  # the kernel makes about 80 us of it; a waiting thread needs about 50 to wake up

_this_thread = threading.local()


def yield_to_the_app() -> None:
    """Make the calling thread, which must be one of our own, work beside the app for good.

    On Linux and Android, where threads have a priority each, its priority becomes lower.
    """
    _this_thread.is_beside = True
    if sys.platform.startswith(("linux", "android")):
        thread = threading.get_native_id()
        now = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, min(now + _NICENESS, 19))


def pause() -> None:
    """Let waiting threads of the app run; to be called at least every 0.2 ms of Python code.

    Does nothing in a thread of the app.
    """
    if getattr(_this_thread, "is_beside", False):
        time.sleep(_PAUSE_S)
