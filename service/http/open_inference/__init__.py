"""The Open Inference Protocol v2 over HTTP, as clients of KServe and Triton speak it: tensors in, tensors out.

Knows the front and how `service.http` reads a request of /generate; `service.http.app` imports it. References: "Open
Inference Protocol" (kserve/open-inference-protocol, specification/protocol/inference_rest.md), and its extensions
"Binary tensor data" and "Parameters" (triton-inference-server/server, docs/protocol).
"""
