"""The chaos suite: mails through real parts while a controller kills, cuts, fills and slows them.

`plan` and `load` say what happens when, as functions of a seed. `installation` holds the parts, `faults` does to them
what the plan says, `caller` sends the mails, `app` is the application that is notified. All of them write a `ledger`,
from which `judge` says whether each promise was kept and `report` tells it. `run` puts it together:

    python -m tests.chaos --broker redis --api commands --seed 7
"""
