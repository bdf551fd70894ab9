"""Asks a daemon's health service about one service and prints the status: `health.py ADDRESS SERVICE`."""
import sys

import grpc

address, service = sys.argv[1:]
name = service.encode()
# HealthCheckRequest{service = 1}, HealthCheckResponse{status = 1}: small enough to be written by hand.
request = b"\x0a" + bytes([len(name)]) + name if name else b""
check = grpc.insecure_channel(address, options=[("grpc.default_authority", "localhost")]).unary_unary("/grpc.health.v1.Health/Check")
try:
    answer = check(request, timeout=10)
except grpc.RpcError as error:
    print(error.code().name)
else:
    print({0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING"}.get(answer[1] if len(answer) > 1 else 0, "OTHER"))
