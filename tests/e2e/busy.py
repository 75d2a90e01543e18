"""Logs whose sessions leave many holes: every other record is of a key whose session goes on, the others' sessions
are over soon. What is open then takes more than a position has room for."""

STEP_MS = 10
BUSY = 1000
GAP_MS = 25000


class Log:
    """What is published to a partition: (number, key, time), and the sessions it makes."""

    def __init__(self, partition, partitions, begin_ms):
        self.partition, self.partitions, self.count, self.time_ms = partition, partitions, 0, begin_ms
        self.records = []

    def batch(self, size):
        new = []
        for _ in range(size):
            i = self.count
            name = "busy-%d" % (i // 2 % BUSY) if i % 2 else "once-%d" % i
            new.append((i * self.partitions + self.partition, "%d-%s" % (self.partition, name), self.time_ms))
            self.count += 1
            self.time_ms += STEP_MS
        self.records += new
        return new

    def pause(self):
        """All sessions are over before the next record."""
        self.time_ms += 60000

    def sessions(self):
        """{(key, start): records}; the last of a key has not ended."""
        found, open_ones = {}, {}
        for n, key, time_ms in self.records:
            start, last = open_ones.get(key, (time_ms, time_ms))
            if time_ms - last > GAP_MS:
                start = time_ms
            open_ones[key] = (start, time_ms)
            found.setdefault((key, start), set()).add(n)
        return found


def judge(logs, have):
    """(records that are there more than once, sessions that are not as they should be); have[session][record] is how
    often it is there."""
    wanted = {}
    for log in logs:
        wanted.update({w: ns for w, ns in log.sessions().items() if w[0] != "end"})
    doubled = [n for c in have.values() for n, times in c.items() if times > 1]
    return doubled, [w for w in wanted.keys() | have.keys() if set(have.get(w, ())) != wanted.get(w)]
