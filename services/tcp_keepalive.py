"""TCP keepalive: a dead peer or a cut line is noticed within two minutes, even if nothing is sent."""

from __future__ import annotations

import socket

KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""Options of a TCP socket, each with its level, name and value."""
