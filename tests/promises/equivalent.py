"""Mutants that no test can catch, since they do the same: module, line, what stood there, what does now; and why."""

EXPIRED = 'rows = select(Job.id, Job.fence).where(Job.state == "running", Job.lease_until < func.now(), young)'
DECAY = '"least(greatest(extract(epoch FROM CAST(:now AS timestamptz) - usage_at), 0) / :half_life, 1000)) "'
FILTER = "return [one for one in waiting if one.need.memory <= largest.get(one.need.kind, -1)]"

EQUIVALENT: dict[tuple[str, str, str, str], str] = {
    ("store/jobs.py", EXPIRED, 'Job.state == "running"', "True"): "the table lets only a running job have a lease",
    ("store/jobs.py", "session.flush()", "session.flush()", "pass"): "the next statement or the commit flushes as well",
    ("store/policy.py", FILTER, "-", ""): "it spares work: what it lets through too much fits nowhere",
    ("store/schedule.py", DECAY, "1000", "1001"): "either power of a half is lost beside any sum of slot-seconds",
    ("store/schedule.py", "return None", "return None", "pass"): "without a free place the rules choose nothing either",
    ("store/schedule.py", "LOCK = 0x5BA_C1A1", "0x5BA_C1A1", "96125346"): "any number does that nobody else uses",
}
