"""The client of Sparring: a command line and an SDK over HTTP. Installs without torch.

from sparring import Client
job = Client().submit(open("job.yaml").read())
job = job.wait()
print(job.results["paper", "ifgsm20"].accuracy)
"""

from sparring.client import ApiError, Client, Group, Job, Score

__all__ = ["ApiError", "Client", "Group", "Job", "Score"]
