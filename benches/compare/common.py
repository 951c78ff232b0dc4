"""What the scripts in this directory share: finding and starting the programs, rounds in which
every contender has its turn, and tables with medians and ratios."""

import argparse
import getpass
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# Whatever takes longer is stuck.
DEADLINE = 120
# Without a proxy, either: everything stays on loopback.
ENV = {
    name: value for name, value in os.environ.items()
    if not name.startswith("LANDLINE_") and not name.lower().endswith("_proxy")
}
# An identity for this run only: the one who measures keeps their own out of it.
HOME = tempfile.TemporaryDirectory(prefix="landline-home-")
ENV["LANDLINE_HOME"] = os.path.join(HOME.name, "home")


def arguments(doc, rounds=5, **defaults):
    """Parses --rounds and one option for each of `defaults`, of the default's type."""
    signal.signal(signal.SIGTERM, end)
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of every contender (default: %(default)s)")
    for name, value in defaults.items():
        if isinstance(value, list):
            kind = {"type": type(value[0]), "nargs": "+"}
        else:
            kind = {"type": type(value)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=value, help="default: %(default)s", **kind)
    return parser.parse_args()


def end(*_):
    """Told to stop, a script still stops what it has started. Once: the rest of that is not to be cut short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def find_programs():
    """Name to path: from the directory LANDLINE_BIN if it is set, else freshly built for release."""
    names = ["tcp-server", "tcp-client", "rexec", "fget", "fput", "http-files", "http-get", "udp-echo"]
    names += ["load", "datagrams"]
    if "LANDLINE_BIN" in os.environ:
        return {name: str(Path(os.environ["LANDLINE_BIN"]) / name) for name in names}
    build = ["cargo", "build", "--release", "--bins", "--message-format=json"]
    bench = ["cargo", "bench", "--no-run", "--bench", "load", "--bench", "datagrams", "--message-format=json"]
    programs = {}
    for command in [build, bench]:
        done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True, text=True)
        for line in done.stdout.splitlines():
            artifact = json.loads(line)
            if artifact.get("executable"):
                programs[artifact["target"]["name"]] = artifact["executable"]
    return programs


def find_peers(*names):
    """The installed ones of `names`, those in the directory LANDLINE_PEERS first; says aloud which are missing."""
    places = [os.environ.get("LANDLINE_PEERS"), os.environ.get("PATH", os.defpath)]
    found = {name: shutil.which(name, path=os.pathsep.join(filter(None, places))) for name in names}
    for name, path in found.items():
        if not path:
            print(f"MISSING: {name} is not installed, so nothing is measured against it", flush=True)
    return {name: path for name, path in found.items() if path}


class Server:
    """A program that listens and says where, in words that match `pattern`; without a pattern the
    kernel is asked. Its CPU seconds are known once it has stopped."""

    def __init__(self, argv, pattern=None, **options):
        pipes = {name: options.pop(name, subprocess.PIPE) for name in ["stdout", "stderr"]}
        self.process = subprocess.Popen(argv, env=ENV, **pipes, **options)
        self.found = threading.Event()
        self.address = None
        self.said = []
        self.cpu = None
        try:
            self._wait_until_ready(pattern)
        except BaseException:
            # Whoever asked for it never had it, so nobody else would.
            self.process.kill()
            self.process.wait()
            raise

    def _wait_until_ready(self, pattern):
        if not pattern:
            self.address = listening_address(self.process)
            self.found.set()
            pattern = "$^"
        for stream in [self.process.stdout, self.process.stderr]:
            if stream:
                threading.Thread(target=self._read, args=(stream, re.compile(pattern)), daemon=True).start()
        if not self.found.wait(DEADLINE):
            sys.exit(f"{self.process.args[0]} never said where it listens: {''.join(self.said)}")

    def _read(self, stream, pattern):
        for line in stream:
            line = line.decode(errors="replace")
            match = pattern.search(line)
            if match and not self.found.is_set():
                self.address = ":".join(match.groups())
                self.found.set()
            if len(self.said) < 20:
                self.said.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Stops it, children first: those that it waited for are in its CPU seconds."""
        until = time.monotonic() + DEADLINE
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while children.exists() and children.read_text().split() and time.monotonic() < until:
            time.sleep(0.01)
        self.stop(signal.SIGTERM)

    def stop(self, with_signal=None):
        """Waits for its end, after telling it so if `with_signal` is given."""
        if self.cpu is None:
            if with_signal:
                # Popen would look first whether it has ended, and keep its CPU seconds from us.
                os.kill(self.process.pid, with_signal)
            self.cpu = wait(self.process)


def listening_address(process):
    """Where a program listens that does not say so: one of its sockets is in the kernel's table."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        inodes = {target(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            # 0A is LISTEN; the address is hexadecimal.
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                return f"127.0.0.1:{int(fields[1].split(':')[1], 16)}"
        time.sleep(0.005)
    sys.exit(f"{process.args[0]} never listened")


def target(link):
    """None if it has gone: a program that starts opens and closes a lot."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return None


def tcp_server(programs, *args, guest="all"):
    argv = [programs["tcp-server"], "--quiet", "--bind", "127.0.0.1:0", "--guest", guest]
    return Server([*argv, "--max-per-address", "20000", *args], r"ready on (\S+)")


def free_port():
    """For a program that cannot choose one itself. Somebody else may be quicker; then it fails aloud."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def ssh_files(directory):
    """Throw-away keys and settings for an sshd of our own."""
    if os.geteuid() == 0:
        # Where its unprivileged part locks itself in; the service makes it when it starts.
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    for name in ["host", "user"]:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized")
    (directory / "sshd").write_text(
        f"HostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized\nPidFile none\nStrictModes no\n"
        "UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        # Else it drops some of those that come together.
        "MaxStartups 1000\n"
        # What the user's own shell does when somebody logs in is no part of what is measured.
        f"SetEnv HOME={directory}\n"
    )


def start_sshd(program, keys):
    """It starts itself anew for each connection, and wants its whole path for that."""
    daemon = [program, "-D", "-f", keys / "sshd", "-o", f"ListenAddress=127.0.0.1:{free_port()}"]
    return Server(daemon, stdout=subprocess.DEVNULL)


def ssh_trust(keys):
    """For ssh and scp: nothing but these keys, and nobody is asked."""
    trust = [f"IdentityFile={keys}/user", "IdentitiesOnly=yes", "IdentityAgent=none", "BatchMode=yes"]
    trust += ["StrictHostKeyChecking=no", f"UserKnownHostsFile={keys}/known", "LogLevel=ERROR"]
    return ["-F", "none", *(word for option in trust for word in ["-o", option])]


def ssh_port(address):
    return ["-o", f"Port={address.rsplit(':', 1)[1]}"]


def scp_command(keys, address, *options):
    """What comes before source and target."""
    return ["scp", "-q", *ssh_trust(keys), *ssh_port(address), *options]


def ssh_command(keys, address, *options):
    """What comes before the command."""
    return ["ssh", *ssh_trust(keys), *ssh_port(address), *options, "127.0.0.1"]


def remote(path):
    """As scp names what sshd serves."""
    return f"{getpass.getuser()}@127.0.0.1:{path}"


def make_file(path, mib):
    """One that no compression or hole would make smaller."""
    piece = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for at in range(mib):
            file.write(at.to_bytes(8, "little") + piece[8:])


def kernel_kib():
    """What the kernel has taken for all programs together."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {name: sizes[name] for name in ["Slab", "KernelStack", "PageTables"]}


def resident_kib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def wait(process, deadline=DEADLINE):
    """Waits for a child; its CPU seconds, with those of the children it waited for itself."""
    timer = threading.Timer(deadline, process.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def run(argv, expect=0, **options):
    """Runs a program to its end; (seconds, CPU seconds, standard output if it was not led elsewhere)."""
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdout=options.pop("stdout", out), env=ENV, **options)
        cpu = wait(process)
        seconds = time.perf_counter() - started
        if process.returncode != expect:
            sys.exit(f"{' '.join(map(str, argv))}: exit code {process.returncode} instead of {expect}")
        out.seek(0)
        return seconds, cpu, out.read().decode()


def load(programs, *args):
    """Runs the load generator and returns what it measured."""
    return json.loads(run([programs["load"], *map(str, args)])[2])


def alternate(rounds, contenders):
    """Lets each contender run once a round, and another one begin each time. Contenders map names
    to functions that return a dictionary of figures; the result maps names to lists of those."""
    results = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds if names else 0):
        for name in names[number % len(names):] + names[:number % len(names)]:
            results[name].append(contenders[name]())
    return results


def median(results, figure):
    values = [result[figure] for result in results if result.get(figure) is not None]
    return statistics.median(values) if values else None


def table(title, results, figure, unit, goals=None, more=()):
    """Prints the contenders' medians of `figure`, with their spread.

    `goals` are (ours, other, how, limit): the ratio of two medians, and what it should be, or None if nobody says.
    `more` are (figure, unit) of which only the median is shown."""
    if not results:
        return
    print(f"\n{title}")
    for name, rounds in results.items():
        values = [result[figure] for result in rounds]
        middle = statistics.median(values)
        spread = (max(values) - min(values)) / middle * 50
        extra = "".join(f"   {show(median(rounds, f))} {u}" for f, u in more if median(rounds, f) is not None)
        print(f"  {name:<38} {show(middle):>11} {unit}  ±{spread:.0f} %{extra}")
    for ours, other, how, limit in goals or []:
        if ours in results and other in results:
            ratio = median(results[ours], figure) / median(results[other], figure)
            if limit is None:
                print(f"  -> {ours} / {other}: {ratio:.2f}")
                continue
            is_met = ratio >= limit if how == "at least" else ratio <= limit
            verdict = "met" if is_met else "MISSED"
            print(f"  -> {ours} / {other}: {ratio:.2f}, goal {how} {limit}: {verdict}")
    sys.stdout.flush()


def show(value):
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
