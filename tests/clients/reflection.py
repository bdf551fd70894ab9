"""A client that knows nothing of Brig but what the server tells it: grpcio and server reflection, no generated code.

usage: reflection.py unix:PATH
"""

import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

# Without it the name of the socket becomes the authority, which is no valid one.
channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.default_authority", "localhost")])
database = ProtoReflectionDescriptorDatabase(channel)
services = sorted(database.get_services())
print("services", " ".join(services))
pool = DescriptorPool(database)


def method(service, name):
    """A callable for one method, from the descriptors alone, and the class of its requests."""
    found = pool.FindServiceByName(service).FindMethodByName(name)
    request = message_factory.GetMessageClass(found.input_type)
    response = message_factory.GetMessageClass(found.output_type)
    make = channel.unary_stream if found.server_streaming else channel.unary_unary
    call = make(f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString)
    return call, request


execute, Request = method("brig.v1.ExecutionService", "Execute")
wanted = {
    "spec": {
        "program": {"python": {"code": {"inline": "cHJpbnQoIm91dHB1dCIsIDYgKiA3KTsgaW1wb3J0IHN5czsgc3lzLmV4aXQoMyk="}}},
        "labels": {"made-by": "reflection"},
    }
}
output, job = b"", None
for response in execute(json_format.ParseDict(wanted, Request()), timeout=60):
    event = response.event
    kind = event.WhichOneof("body")
    print("event", event.seq, kind)
    if kind == "output":
        output += event.output.data
    if kind == "ended":
        job = event.ended.job
print("output", output)
print("verdict", json_format.MessageToDict(job.outcome.verdict))

get, Request = method("brig.v1.ExecutionService", "Get")
again = get(Request(job_id=job.job_id), timeout=10).job
print("same", again.job_id == job.job_id and again.outcome.verdict == job.outcome.verdict)

try:
    get(Request(job_id="01890a5d-ac96-774b-bcce-b302099a8057"), timeout=10)
except grpc.RpcError as error:
    print("unknown", error.code().name)

execute, Request = method("brig.v1.ExecutionService", "Execute")
try:
    list(execute(Request(), timeout=10))
except grpc.RpcError as error:
    print("empty", error.code().name, "spec" in str(error.details()))

check, Request = method("grpc.health.v1.Health", "Check")
print("health", json_format.MessageToDict(check(Request(), timeout=10)))
