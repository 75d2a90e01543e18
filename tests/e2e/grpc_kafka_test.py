"""riff's own Node invoker, unmodified from npm, and our scripted server, on streams of a real Kafka broker."""
import os
import sys

from kafka_rig import Broker, run
from rig import main
from riff_cases import EVERY_KIND
from riff_rig import OnKafka, find_invoker, on


class Watched(OnKafka):
    def all_there_ever_was(self, i, name):
        """Also what a transaction wrote that was aborted, as a client that is not ours sees it."""
        return run("kcat", "-b", self.broker.servers, "-C", "-t", i.space + "_" + name, "-o", "beginning", "-e", "-q",
                   "-X", "isolation.level=read_uncommitted").splitlines()


if __name__ == "__main__":
    found, why = find_invoker()
    if found is None:
        print("Bail out! " + why if os.environ.get("REQUIRE_NODE") else "1..0 # SKIP " + why)
        sys.exit(1 if os.environ.get("REQUIRE_NODE") else 0)
    with Broker(os.environ.get("KAFKA_BOOTSTRAP")) as broker:
        only = os.environ.get("RIFFLE_ONLY", "").split()
        main([case for case in on(Watched(broker), *EVERY_KIND) if not only or case.__name__ in only])
