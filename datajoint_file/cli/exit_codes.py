"""Exit codes, the same for all commands, so that cron, timers and scripts can tell what has happened.

======  ==================================================================================================
code    meaning
======  ==================================================================================================
0       fine; also if a budget was used up, or if there was nothing to do
1       it looked, and a person must look too: damaged or missing objects, a failed check of `doctor`, a refusal of
        the collector, nothing that could be put back
2       wrong usage; nothing was done
3       partly done: some objects could not be deleted, some rows not put back; or another run is at it
4       it could not look: database or store not reached, no access, no bucket, a configuration or anything else that
        is in the way. Nothing is known, neither good nor bad
======  ==================================================================================================

Where several hold, 1 comes before 4 before 3: what was found is not hidden by what happened then. A refusal is 1, not
3: the next run refuses as well, until a person has settled what it names.
"""

from __future__ import annotations

import click

FINE = 0
PROBLEMS = 1
USAGE = 2
PARTLY = 3
BLIND = 4


class Verdict(click.ClickException):
    """One message of a command that has looked, and found what a person must see to."""

    exit_code = PROBLEMS
