// One picture's request, as other clients write it. What is copied works as it is.
import { toJson, urlOf } from "./api.js";
import { keyFor } from "./key.js";
import { state } from "./page.js";

/** The ways to copy a request: [name, text]. `hash` is the fragment that shows it. */
export function snippets(request, hash) {
  const ways = [["curl", curl(request)], ["Python", python(request)]];
  if (state.links.openai) ways.push(["OpenAI", openai(request)]);
  return [...ways, ["link", new URL(hash, location.href).href]];
}

/** A file name for a picture: "golden-retriever-5.png". */
export function fileName({ class_name: name, class_id: classId, seed }) {
  const words = (name || `class ${classId}`).toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  return `${words || classId}-${seed}.png`;
}

function curl(request) {
  const key = keyFor() ? `     -H "authorization: Bearer $DIT_KEY" \\\n` : "";
  return `curl -sf ${urlOf("generate")} -H 'content-type: application/json' -H 'accept: image/png' \\
${key}     -d '${toJson(request).replaceAll("'", "'\\''")}' -o ${request.class_id}-${request.seed}.png
`;
}

function python(request) {
  const key = keyFor() ? `, "Authorization": "Bearer " + os.environ["DIT_KEY"]` : "";
  return `import json${key && ", os"}
from pathlib import Path
from urllib.request import Request, urlopen

wanted = ${toJson(request)}
headers = {"Content-Type": "application/json", "Accept": "image/png"${key}}
answer = urlopen(Request("${urlOf("generate")}", json.dumps(wanted).encode(), headers))
Path("${request.class_id}-${request.seed}.png").write_bytes(answer.read())
`;
}

function openai({ class_id, model, cfg, steps, sampler, seed }) {
  const base = new URL(".", new URL(state.links.openai, location.href)).href.replace(/images\/$/, "");
  const key = keyFor() ? `os.environ["DIT_KEY"]` : `"none"`;
  return `import base64${keyFor() ? ", os" : ""}
from pathlib import Path
from openai import OpenAI

client = OpenAI(base_url="${base}", api_key=${key})
extra = ${toJson({ cfg, steps, sampler, seed })}
wanted = {"model": ${toJson(model)}, "prompt": "${class_id}", "response_format": "b64_json"}
answer = client.images.generate(**wanted, extra_body=extra)
Path("${class_id}-${seed}.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
`;
}
