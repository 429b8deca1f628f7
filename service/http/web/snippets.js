// One picture's request as other clients write it. What is copied works as it is; a key is read from the environment.
import { toJson, urlOf } from "./api.js";
import { keyFor } from "./key.js";
import { state } from "./page.js";

/** The ways to copy a request, text by name. */
export function snippets(request, link) {
  return { curl: curlOf(request), Python: pythonOf(request), OpenAI: openaiOf(request), link };
}

function curlOf(request) {
  const key = keyFor() && ` -H "authorization: Bearer $DIT_KEY"`;
  return `curl -sf ${urlOf("generate")}${key} -H 'content-type: application/json' -H 'accept: image/png' \\
     -d '${toJson(request).replaceAll("'", "'\\''")}' -o ${fileOf(request)}
`;
}

function pythonOf(request) {
  return `import json${keyFor() && ", os"}
from pathlib import Path
from urllib.request import Request, urlopen

headers = {"Content-Type": "application/json", "Accept": "image/png"}
${keyFor() && 'headers["Authorization"] = "Bearer " + os.environ["DIT_KEY"]\n'}wanted = ${toJson(request)}
answer = urlopen(Request("${urlOf("generate")}", json.dumps(wanted).encode(), headers))
Path("${fileOf(request)}").write_bytes(answer.read())
`;
}

function openaiOf({ class_id, model, ...extra }) {
  const { href } = new URL(state.links.openai, location.href);
  return `import base64, os
from pathlib import Path
from openai import OpenAI

client = OpenAI(base_url="${href.replace(/\/images\/generations$/, "")}", api_key=os.environ.get("DIT_KEY", "none"))
wanted = {"model": ${toJson(model)}, "prompt": "${class_id}", "response_format": "b64_json"}
answer = client.images.generate(**wanted, extra_body=${toJson(extra)})
Path("${fileOf({ class_id, ...extra })}").write_bytes(base64.b64decode(answer.data[0].b64_json))
`;
}

/** A file's name for a picture: "207-5.png". */
export function fileOf({ class_id, seed }) {
  return `${class_id}-${seed}.png`;
}
