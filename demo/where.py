"""Prints where a command runs in a container: where it is, who it is, what it sees."""

import os
import platform
import pwd
import sys


def try_to_write(directory):
    path = os.path.join(directory, f"hrun-demo-{os.getpid()}")
    try:
        with open(path, "w"):
            pass
        os.unlink(path)
        return "yes"
    except OSError as error:
        return f"no ({error.strerror})"


def os_name():
    with open("/etc/os-release") as file:
        return next(line.split('"')[1] for line in file if line.startswith("PRETTY_NAME"))


user = pwd.getpwuid(os.getuid())
print("where     ", os.getcwd(), "on", platform.node())
print("image     ", os_name(), "with Python", platform.python_version())
print("who       ", user.pw_name, f"(uid {user.pw_uid}), home", user.pw_dir)
print("process   ", os.getpid(), "started by", os.getppid())
print("processors", len(os.sched_getaffinity(0)))
print("sees      ", " ".join(sorted(os.listdir("/"))))
print("here      ", " ".join(sorted(os.listdir("."))))
print("may write ", "here:", try_to_write("."), "| /tmp:", try_to_write("/tmp"), "| /usr:", try_to_write("/usr"))
print("GREETING  ", os.environ.get("GREETING"))
print("arguments ", sys.argv[1:])
