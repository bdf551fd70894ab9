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



def refusal(service, name, request):
    """The status with which a request is refused, or what it answered."""
    call, Request = method(service, name)
    try:
        answer = call(json_format.ParseDict(request, Request()), timeout=30)
        return str(list(answer)) if hasattr(answer, "__iter__") else str(answer)
    except grpc.RpcError as error:
        return error.code().name


for wrong in ("../../etc/passwd", "/etc/passwd", "", "not-an-id", "00000000-0000-0000-0000-000000000000"):
    print("download", repr(wrong), refusal("brig.v1.FileService", "Download", {"file_id": wrong}))
    print("get", repr(wrong), refusal("brig.v1.ExecutionService", "Get", {"job_id": wrong}))

submit, Request = method("brig.v1.ExecutionService", "Submit")
key = "a-key-of-the-reflection-client"
first = submit(json_format.ParseDict(dict(wanted, idempotency_key=key), Request()), timeout=10)
again = submit(json_format.ParseDict(dict(wanted, idempotency_key=key), Request()), timeout=10)
print("repeated", first.job_id == again.job_id, first.existing, again.existing)
other = {"spec": {"program": {"command": {"argv": ["true"]}}}, "idempotency_key": key}
print("other body", refusal("brig.v1.ExecutionService", "Submit", other))
large = {"spec": {"program": {"python": {"code": {"inline": "eHh4" * (2 << 20)}}}}}
print("large", refusal("brig.v1.ExecutionService", "Submit", large))
hostile = {"spec": {"program": {"command": {"argv": ["true"]}}, "inputs": [{"path": "../x", "content": {"inline": "eA=="}}]}}
print("hostile path", refusal("brig.v1.ExecutionService", "Submit", hostile))

check, Request = method("grpc.health.v1.Health", "Check")
print("health", json_format.MessageToDict(check(Request(), timeout=10)))
