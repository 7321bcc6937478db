"""Operations that take time, as records: memory.reclaim, proactive writeback, the workers of the host.

A job is advanced one batch at a time by the engine and remembers here where it is; so a clone taken
in mid-operation goes on where the original does.
"""

from __future__ import annotations

import numpy as np

J_NONE, J_RECLAIM, J_WRITEBACK, J_WORKER, J_KSWAPD, J_PULSE = 0, 1, 2, 3, 4, 5
REPORT_WRITEBACK, REPORT_PAIR = 1, 2  # what `report` says: the errno of the job, or of both halves
SLOT_STAGE, SLOT_REQUEST = 0, 1
SLOTS = 2
HOST_JOBS = 3
"""Behind the cgroups' slots: kswapd, the shrink worker, direct reclaim (always the last)."""

JOB = np.dtype(
    [
        ("kind", np.int32),
        ("cg", np.int32),
        ("start", np.int64),
        ("signal", np.int32),
        ("errno", np.int32),
        ("report", np.int32),  # 1: note the end in the done log
        # reclaim: memory.reclaim loop and the try_free inside it
        ("target", np.int64),
        ("reclaimed", np.int64),
        ("retries", np.int32),
        ("active", np.int32),  # inside one try_free
        ("goal", np.int64),
        ("freed", np.int64),
        ("prio", np.int32),
        ("attempt", np.int32),
        ("low_skipped", np.int32),
        ("walk_from", np.int32),  # subtree position of this priority pass
        ("walk_left", np.int32),
        ("in_lruvec", np.int32),
        ("scanned", np.int64),
        ("pulse", np.int64),  # > 0: a pulse of so many pages, which takes no anonymous page
        ("anon_too", np.int32),  # there is swap to reclaim anonymous memory to
        ("todo_file", np.int64),  # of this priority's target on the inactive file list
        ("todo_file_active", np.int64),
        # proactive writeback
        ("budget", np.int64),  # pages, or compressed bytes, as the interface counts
        ("cutoff", np.int64),
        ("cursor", np.int32),  # where the interface keeps none in the cgroup
        ("done", np.int64),  # of the budget
        ("written", np.int64),  # real pages
        ("failures", np.int32),
        ("attempts", np.int32),
        ("visit", np.int32),  # cgroup being visited, -1 = none
        ("visit_goal", np.int64),
        ("visit_total", np.int64),
        ("visit_scanned", np.int64),
        ("visit_written", np.int64),  # as the budget counts
        ("walk_pages", np.int64),  # real pages of this walk, -1 = no walk open
        ("walk_need", np.int64),
        ("walk_seen", np.int64),
        ("walk_hit", np.int64),  # real pages written
        ("walk_bytes", np.int64),  # the same, compressed
        ("release", np.int64),  # pages to reclaim afterwards
        ("ended", np.int64),
        ("wb_errno", np.int32),
        ("pace_us", np.float64),  # time per page reclaimed, where ``exact``
        # classic LRU: what is left of this priority's targets
        ("todo_inactive", np.int64),
        ("todo_active", np.int64),
        ("may_deactivate", np.int32),
        ("skipped_active", np.int32),
        ("force_deactivate", np.int32),
    ],
    align=True,
)

DONE = np.dtype(
    [
        ("cg", np.int32),
        ("errno", np.int32),
        ("release_errno", np.int32),
        ("kind", np.int32),
        ("pages", np.int64),
        ("released", np.int64),  # real pages the release reclaimed
        ("duration_us", np.int64),
    ],
    align=True,
)
DONE_LOG = 256
