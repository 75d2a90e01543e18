"""A function's server: counts the words of a window. riff_pb2 is what protoc makes of riff.proto."""
import collections
import json
import os
from concurrent import futures

import grpc
import riff_pb2 as riff


def invoke(signals, context):
    """One call is one window: the StartFrame, then a frame for each record, then the end."""
    names = next(signals).start.outputNames
    words = collections.Counter()
    for signal in signals:
        words.update(signal.data.payload.decode().split())
    answer = riff.OutputFrame(payload=json.dumps(words).encode(), contentType="application/json",
                              resultIndex=list(names).index("counts"))
    yield riff.OutputSignal(data=answer)


class Riff(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/streaming.Riff/Invoke":
            return grpc.stream_stream_rpc_method_handler(
                invoke, riff.InputSignal.FromString, riff.OutputSignal.SerializeToString)
        return None


server = grpc.server(futures.ThreadPoolExecutor(16), handlers=(Riff(),), options=[("grpc.so_reuseport", 0)])
server.add_insecure_port("127.0.0.1:" + os.environ.get("GRPC_PORT", "8081"))
server.start()
server.wait_for_termination()
