"""Socket activation as systemd does it: `activate.py SOCKET PROGRAM [ARGUMENT ...]` listens, and becomes PROGRAM."""

import os
import socket
import sys

# where activated programs look for their first socket
FIRST = 3

path, program, *arguments = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1024)
os.dup2(listener.fileno(), FIRST)
os.set_inheritable(FIRST, True)
os.execve(program, [program, *arguments], {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
