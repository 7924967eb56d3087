"""What the processes of one service share: its listening sockets, connections, locks and counters."""
