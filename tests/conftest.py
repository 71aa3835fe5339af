"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell has what it runs in the background (`make test &`) ignore Ctrl-C, and so would the programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
