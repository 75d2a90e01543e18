"""Which windows the records of one partition belong to, and which of them are late: naively, record by record."""


def windows_of(time_ms, size_ms, slide_ms):
    """(start, end) of each window, oldest first."""
    start = time_ms // slide_ms * slide_ms
    starts = []
    while start > time_ms - size_ms:
        starts.append(start)
        start -= slide_ms
    return [(s, s + size_ms) for s in reversed(starts)]


class Partition:
    """Takes the records in the order of the log; names them by what they are called with."""

    def __init__(self, size_ms, slide_ms, disorder_ms):
        self.size_ms, self.slide_ms, self.disorder_ms = size_ms, slide_ms, disorder_ms
        self.largest_ms = None
        self.held = {}
        self.late = []

    def watermark_ms(self):
        return self.largest_ms - self.disorder_ms

    def add(self, name, key, time_ms):
        if self.largest_ms is None or time_ms > self.largest_ms:
            self.largest_ms = time_ms
        missed_all = True
        for start, end in windows_of(time_ms, self.size_ms, self.slide_ms):
            if end > self.watermark_ms():
                self.held.setdefault((start, end, key), []).append(name)
                missed_all = False
        if missed_all:
            self.late.append(name)

    def over(self):
        """(start, end, key): records, of the windows that are over by now."""
        return {w: names for w, names in self.held.items() if w[1] <= self.watermark_ms()}


class Sessions:
    """The same of sessions: those of a key that are not over take what comes within the gap of them."""

    def __init__(self, gap_ms, disorder_ms):
        self.gap_ms, self.disorder_ms = gap_ms, disorder_ms
        self.largest_ms = None
        self.open = []
        self.closed = {}
        self.late = []

    def end_ms(self, session):
        return max(t for _, t in session["records"]) + self.gap_ms + 1

    def close(self, watermark_ms):
        for session in [s for s in self.open if self.end_ms(s) <= watermark_ms]:
            self.open.remove(session)
            start = min(t for _, t in session["records"])
            self.closed[start, self.end_ms(session), session["key"]] = [n for n, _ in session["records"]]

    def add(self, name, key, time_ms):
        if self.largest_ms is None or time_ms > self.largest_ms:
            self.largest_ms = time_ms
        watermark_ms = self.largest_ms - self.disorder_ms
        self.close(watermark_ms)
        near = [s for s in self.open
                if s["key"] == key and any(abs(t - time_ms) <= self.gap_ms for _, t in s["records"])]
        if not near and time_ms + self.gap_ms + 1 <= watermark_ms:
            self.late.append(name)
            return
        for session in near:
            self.open.remove(session)
        joined = [r for s in near for r in s["records"]] + [(name, time_ms)]
        self.open.append({"key": key, "records": joined})

    def over(self):
        return self.closed
