"""Opens sessions with paramiko: client.py PORT KEY MARK. Prints what it got, as JSON, and is then killed in a session."""
import json
import sys

import paramiko

port, key, mark = int(sys.argv[1]), sys.argv[2], sys.argv[3]
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", port, "web", key_filename=key, allow_agent=False, look_for_keys=False)


def run(command, terminal, text=b""):
    channel = client.get_transport().open_session()
    if terminal:
        channel.get_pty("xterm", 91, 31)
    channel.exec_command(command)
    channel.sendall(text)
    if not terminal:
        channel.shutdown_write()
    out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
    return {"status": channel.recv_exit_status(), "stdout": out.decode(), "stderr": err.decode()}


print(json.dumps([
    run("echo out; cat; echo err >&2; exit 7", False, b"in\n"),
    run("tty; stty size; exit 8", True),
    run("kill -TERM $$", False),
]), flush=True)
channel = client.get_transport().open_session()
channel.exec_command("setsid sleep " + mark + " & wait")
channel.recv_exit_status()
