"""A result that follows the mail, in every construct of Celery's canvas: each broker with each result backend.

`test_{broker}_{backend}.py` names a combination, and takes in what that backend can do: `constructs` all of them,
`results` those that have results, `notified` those that tell of states by themselves, `stored` those that can be asked
at any time, `chords` those that have chords. So nothing is skipped, and each file can run in a process of its own.
Redis with Redis runs in full every time; the others run what is marked as `smoke`, and all of it with `--full`.
"""

import pytest

_WITH_TESTS = ("canvas", "chords", "constructs", "notified", "results", "stored")

pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _WITH_TESTS))
