"""The worker as it is, but that its attempts do the tiny science, and that its clock may be wrong: `celery -A promises.hands`."""

import sys

from promises.clock import shift
from worker.app import app
from worker.supervisor import Supervisor

shift()
Supervisor.command = (sys.executable, "-m", "promises.tiny")
app.conf.imports = ("worker.tasks", "promises.hands")
