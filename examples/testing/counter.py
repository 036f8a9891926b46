# SPDX-License-Identifier: Apache-2.0
"""A counter kept by three hosts that agree by Raft (PySyncObj, unmodified, on the hosts' sockets).

`Counter.read_log` sends reads through the log like everything else.  `Counter.read_here` has the
bug: a leader answers from its own copy, also when the others, on the far side of a partition, have
chosen a new leader and counted on without it.
"""

import random
import time

from pysyncobj import SyncObj, SyncObjConf, replicated

PORT = 4321
_CONF = {
    "autoTick": False,
    "appendEntriesPeriod": 1.0,
    "raftMinTimeout": 4.0,
    "raftMaxTimeout": 8.0,
    "leaderFallbackTimeout": 30.0,
    "connectionTimeout": 10.0,
    "connectionRetryTime": 2.0,
}


class Counter(SyncObj):
    def __init__(self, me, others):
        super().__init__(me, others, SyncObjConf(**_CONF))
        self.count = 0

    @replicated
    def add(self):
        self.count += 1
        return self.count

    @replicated
    def get(self):
        return self.count

    def read_log(self, told):
        self.get(callback=lambda value, error: told(value) if error == 0 else None)

    def read_here(self, told):
        if self._isLeader():
            told(self.count)


def run(me, others, started):
    """A node's program: hosts do not boot all at once."""
    time.sleep(random.uniform(1, 3))
    node = Counter(me, others)
    started(node)
    while True:
        node.doTick(1.0)
