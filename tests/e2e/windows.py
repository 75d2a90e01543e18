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
