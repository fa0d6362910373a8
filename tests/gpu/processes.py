"""Commands of a session on a GPU: several at one time, none of which can hold up the others.

A kernel that hangs cannot be interrupted, and neither can its process be, at times. So output goes
to a file, not to a pipe, which would stay open; what does not end is left behind."""
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

MOST_OUTPUT = 400_000      # characters of one command that are kept: the beginning and the end
MOST_LOG = 12_000_000      # of all; then each command's last words alone
LAST_WORDS = 4_000
MOST_RESTARTS = 8
CASE = re.compile(r"^case (\d+) of (\d+): (.*)$", re.M)


@dataclasses.dataclass
class Command:
    words: list
    label: str = ""
    # The program announces its cases by number (ESPALIER_TEST_FIRST_CASE): when one takes the
    # process along, the ones behind it are run in another.
    has_cases: bool = False
    environment: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        self.label = self.label or str(self.words[-1])


@dataclasses.dataclass
class Outcome:
    status: object  # exit status, or words: "timed out", "silent", "cannot be started"
    text: str
    case: str = ""  # that took the process along


def members_of(session):
    """Processes of a session, which are those that a command has started, mpirun's ranks among
    them."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def end(child):
    """Ends a command with everything that it has started; whatever cannot be ended stays."""
    for sign, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        members = members_of(child.pid)
        for pid in [child.pid] if sign == signal.SIGTERM and child.pid in members else members:
            try:
                os.kill(pid, sign)  # mpirun and Python take what they have started along
            except OSError:
                pass
        last = time.monotonic() + patience
        while time.monotonic() < last and members_of(child.pid):
            child.poll()
            time.sleep(0.05)


def said_by(words, limit_s):
    """Exit status and output of a short command; None when it takes longer. Throws OSError when it
    cannot be started."""
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            end(child)
            status = None
        output.seek(0)
        return status, output.read().decode(errors="replace")


class Runner:
    def __init__(self, log, environment):
        self.log = open(log, "w", errors="replace")
        self.environment = environment
        self.lock = threading.Lock()
        self.written = 0

    def say(self, text):
        with self.lock:
            self.log.write(text)
            self.log.flush()
            self.written += len(text)

    def run(self, command, limit_s, silence_s, first_case=None):
        environment = {**self.environment, **command.environment}
        if first_case is not None:
            environment["ESPALIER_TEST_FIRST_CASE"] = str(first_case)
        start = time.monotonic()
        with tempfile.TemporaryFile() as output:
            try:
                child = subprocess.Popen(command.words, env=environment, stdout=output,
                                         stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                         start_new_session=True)
            except OSError as error:
                self.report(command, "cannot be started", str(error), start, first_case)
                return Outcome("cannot be started", str(error))
            status, size, heard = None, 0, start
            while status is None:
                try:
                    status = child.wait(0.05)
                except subprocess.TimeoutExpired:
                    pass
                now = time.monotonic()
                if os.fstat(output.fileno()).st_size != size:
                    size, heard = os.fstat(output.fileno()).st_size, now
                if status is None and now - start > limit_s:
                    status = "timed out"
                elif status is None and now - heard > silence_s:
                    status = "silent"
            if not isinstance(status, int):
                end(child)
            output.seek(0)
            text = output.read().decode(errors="replace")
        if len(text) > MOST_OUTPUT:
            text = f"{text[:MOST_OUTPUT // 2]}\n[...]\n{text[-MOST_OUTPUT // 2:]}"
        self.report(command, status, text, start, first_case)
        return Outcome(status, text)

    def report(self, command, status, text, start, first_case):
        if self.written > MOST_LOG and len(text) > LAST_WORDS:
            text = "[...]\n" + text[-LAST_WORDS:]
        more = "".join(f"{k}={v} " for k, v in command.environment.items())
        if first_case is not None:
            more += f"ESPALIER_TEST_FIRST_CASE={first_case} "
        self.say(f"\n$ {more}{' '.join(map(str, command.words))}\n{text}\n"
                 f"[{status}, {time.monotonic() - start:.1f} s]\n")

    def run_cases(self, command, end_s, each_s, silence_s):
        """The outcomes of a command, several when cases of it have taken their process along."""
        outcomes, first = [], 1 if command.has_cases else None
        while len(outcomes) <= MOST_RESTARTS:
            limit = min(each_s, end_s - time.monotonic())
            if limit < 1:
                break
            outcome = self.run(command, limit, silence_s, first)
            outcomes.append(outcome)
            seen = CASE.findall(outcome.text) if command.has_cases else []
            if outcome.status == 0 or not seen:
                break
            number, count, name = int(seen[-1][0]), int(seen[-1][1]), seen[-1][2]
            # A failed comparison does not end the process, which then has come to the last case.
            if number < count or not isinstance(outcome.status, int) or outcome.status < 0:
                outcome.case = f"{number} ({name})"
            if number >= count:
                break
            first = number + 1
        return outcomes

    def run_all(self, commands, end_s, each_s, silence_s, at_once):
        """[(command, outcomes)] of those that were reached before `end_s`, in their order."""
        if at_once > 1:  # each with its share of the processors: threads that wait for others spin
            share = str(max(1, (os.cpu_count() or 1) // at_once))
            commands = [dataclasses.replace(c, environment={"OMP_NUM_THREADS": share,
                                                            **c.environment}) for c in commands]
        with concurrent.futures.ThreadPoolExecutor(max(1, at_once)) as pool:
            futures = [(c, pool.submit(self.run_cases, c, end_s, each_s, silence_s))
                       for c in commands]
            done = [(c, f.result()) for c, f in futures]
        return [(c, outcomes) for c, outcomes in done if outcomes]
