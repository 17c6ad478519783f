"""A real Slurm on this machine for tests: two nodes with a declared GPU each, on loopback, without systemd.

    python tests/system/slurm/cluster.py start      # installs Debian's packages where they are missing; needs root
    sinfo; squeue
    python tests/system/slurm/cluster.py stop

What it needs lies in FOLDER, but for the two files in /etc/slurm: srun inside a job knows no other place. A
configuration that is there and not ours is never touched.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

FOLDER = Path("/tmp/ddro-slurm")
os.environ["PATH"] += ":/usr/sbin"  # the daemons' place, which `su` leaves out
ETC = Path("/etc/slurm")
OURS = "# Written by tests/system/slurm/cluster.py: a cluster for tests on this machine alone.\n"
PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
NODES = ["ddro1", "ddro2"]

# A node claims more cores and memory than the machine has, so that the jobs of the real profile fit. Memory is looked
# at each second, and a job that takes more than it asked for is killed.
SLURM_CONF = """
ClusterName=ddro-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=3600
MessageTimeout=5
KillWait=1
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=64 RealMemory=262144 Gres=gpu:1 State=UNKNOWN
NodeName=ddro1 NodeHostname={host} NodeAddr=127.0.0.1 Port=16818
NodeName=ddro2 NodeHostname={host} NodeAddr=127.0.0.1 Port=16819
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRES_CONF = "Name=gpu File=/dev/null\n"  # it must be a character device


class ClusterError(Exception):
    """This machine can't have the cluster; the message says why."""


def require() -> None:
    """Raise a `ClusterError` where root or apt is missing, or somebody's Slurm is already configured."""
    if os.geteuid() != 0:
        raise ClusterError("only root can start Slurm's daemons")
    if not (installed() or shutil.which("apt-get")):
        raise ClusterError("Slurm isn't installed, and there is no apt-get")
    for path in (ETC / "slurm.conf", ETC / "gres.conf"):
        if path.exists() and not path.read_text().startswith(OURS):
            raise ClusterError(f"{path} isn't ours: this machine has a Slurm of its own")


def installed() -> bool:
    return all(shutil.which(name) for name in ("munged", "slurmctld", "slurmd"))


def install() -> None:
    """Install Debian's packages, if they are missing; the daemons that come with them aren't started."""
    if installed():
        return
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


def start() -> None:
    """Start the cluster, and return when its nodes take jobs; a cluster of ours that runs is stopped first."""
    require()
    install()
    stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("munge", "controller", *NODES):
        (FOLDER / name).mkdir(mode=0o755, parents=True)
    key = FOLDER / "munge/key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(128))
    ETC.mkdir(exist_ok=True)
    (ETC / "slurm.conf").write_text(OURS + SLURM_CONF.format(host=socket.gethostname().split(".")[0], folder=FOLDER))
    (ETC / "gres.conf").write_text(OURS + GRES_CONF)
    munge = FOLDER / "munge"
    names = {"key-file": "key", "socket": "socket", "seed-file": "seed", "log-file": "log"}
    options = [f"--{option}={munge / name}" for option, name in names.items()]
    call("munged", *options, f"--pid-file={FOLDER / 'munged.pid'}")
    start_controller()
    for node in NODES:
        call("slurmd", "-N", node)
    wait_for(lambda: state() == "idle", "the nodes to be idle")


def start_controller() -> None:
    """Start slurmctld; it goes on with the jobs that it knew."""
    call("slurmctld")
    wait_for(lambda: subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0, "the controller")


def state() -> str:
    """The state of the nodes, as sinfo shows it: a line for each that any of them is in."""
    return subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout.strip()


def stop() -> None:
    """End the jobs and the daemons, and remove our files in /etc/slurm; FOLDER stays, with the logs."""
    if (FOLDER / "slurmctld.pid").exists():
        subprocess.run(["timeout", "-k", "1", "10", "scancel", "--user=root"], capture_output=True)
    for node in NODES:
        kill("slurmd", node)
    for name in ("slurmctld", "munged"):
        kill(name)
    for path in (ETC / "slurm.conf", ETC / "gres.conf"):
        if path.exists() and path.read_text().startswith(OURS):
            path.unlink()


def kill(name: str, node: str | None = None) -> None:
    """End one of our daemons, by the process id that it has written."""
    path = FOLDER / f"{node or name}.pid"
    if not path.exists():
        return
    pid = int(path.read_text())
    for sign, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        if runs(pid, name):
            os.kill(pid, sign)
            limit = time.monotonic() + seconds
            while runs(pid, name) and time.monotonic() < limit:
                time.sleep(0.1)
    path.unlink(missing_ok=True)


def runs(pid: int, name: str) -> bool:
    """True where the process is that program, and not one that has the same number now, nor a dead one."""
    try:
        _, program, rest = Path(f"/proc/{pid}/stat").read_text().replace("(", ")").split(")", 2)
    except OSError:
        return False
    return program == name and rest.split()[0] != "Z"


def call(*command: str) -> str:
    done = subprocess.run(["timeout", "-k", "5", "30", *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def wait_for(condition, what: str, seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise ClusterError(f"waited {seconds} seconds for {what}; see the logs in {FOLDER}")
        time.sleep(0.2)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("action", choices=["start", "stop"])
    start() if options.parse_args().action == "start" else stop()
