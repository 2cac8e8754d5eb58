"""An agent as people instrument it: with OpenTelemetry, and with the Langfuse SDK. Arguments: address, key, key's name."""
import sys

from langfuse import Langfuse
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

base, key, name = sys.argv[1:]
exporter = OTLPSpanExporter(
    endpoint=f"{base}/v1/traces", headers={"authorization": f"Bearer {key}"}, compression=Compression.Gzip
)
provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("agent")
agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "instrumented"}
call = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.response.finish_reasons": ["stop"]}
tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find", "gen_ai.tool.call.arguments": "a secret"}
with tracer.start_as_current_span("invoke_agent instrumented", attributes=agent):
    with tracer.start_as_current_span("chat m", attributes=call):
        pass
    with tracer.start_as_current_span("execute_tool find", attributes=tool):
        pass
assert provider.force_flush()

langfuse = Langfuse(public_key=name, secret_key=key, base_url=base)
with langfuse.start_as_current_observation(as_type="agent", name="observed", input="a secret"):
    with langfuse.start_as_current_observation(as_type="generation", name="call", model="m") as generation:
        generation.update(output="a secret", usage_details={"input": 12, "output": 3})
    with langfuse.start_as_current_observation(as_type="tool", name="find", input={"a": "a secret"}):
        pass
langfuse.flush()
