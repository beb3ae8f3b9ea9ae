/** The OpenAPI document as one page to read: no script, no request to anywhere. */

import { html, raw } from "hono/html";

type Json = Record<string, unknown>;

const styleSheet = `
:root { color-scheme: light dark; font: 16px/1.55 system-ui, sans-serif; }
body { max-width: 58rem; margin: 0 auto; padding: 2rem 1.25rem 5rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.05rem; margin: 0; }
section { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: 1.5rem 0; }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700; letter-spacing: .03em; }
code, pre { font: .88em/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; padding: .9rem 1rem; border-radius: .5rem;
  background: color-mix(in srgb, currentColor 8%, transparent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1rem .35rem 0; }
tr + tr td { border-top: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
small { opacity: .75; }
`;

/** What a reader tries first; `base` is where the reader found this page. */
function examples(base: string): string {
  const post = `curl -s ${base}/api/diffusers/inference -H 'Content-Type: application/json'`;
  return `# Generate, stream the progress, cancel
${post} \\
  -d '{"prompt": "a red circle", "num_inference_steps": 8, "job": "my-first-job"}'
${post} -N \\
  -d '{"prompt": "a red circle", "stream": true, "preview_every": 4}'
curl -s -X DELETE ${base}/api/jobs/my-first-job`;
}

/**
 * The page and the Content-Security-Policy that allows its one style sheet and nothing else.
 *
 * @param base start of the URLs in its examples
 */
export async function docsPage(
  document: unknown,
  base: string,
): Promise<{ html: string; policy: string }> {
  const { info, paths, components } = document as { info: Json; paths: Json; components?: Json };
  const schemas = (components?.schemas ?? {}) as Json;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item as Json).map(([method, operation]) =>
      renderOperation(method, path, operation as Json, schemas)
    )
  );
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(styleSheet));
  const page = html`
    <!DOCTYPE html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${info.title} – API</title>
        <style>${raw(styleSheet)}</style>
      </head>
      <body>
        <h1>${info.title}</h1>
        <p>${info
          .description} The same as a document for machines: <a href="openapi.json">openapi.json</a>.
    Errors are <code>{"error": {"type", "message", "param"?}}</code>.</p>
        <pre><code>${examples(base)}</code></pre>
        <main>${operations}</main>
      </body>
    </html>
  `;
  const hash = new Uint8Array(digest).toBase64();
  return {
    html: String(await page),
    policy: `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; ` +
      "form-action 'none'; frame-ancestors 'none'",
  };
}

function renderOperation(method: string, path: string, operation: Json, schemas: Json) {
  const body = jsonSchemaOf(operation.requestBody as Json | undefined);
  const responses = Object.entries((operation.responses ?? {}) as Json);
  return html`<section>
<h2><span class="method">${method.toUpperCase()}</span> <code>${path}</code></h2>
<p>${operation.summary}. ${prose(operation.description)}</p>
${body ? html`<h3>Body</h3>${renderFields(resolve(body, schemas))}` : ""}
${
    responses.map(([status, response]) => {
      const schema = jsonSchemaOf(response as Json);
      const fields = schema && resolve(schema, schemas);
      return html`<p><strong>${status}</strong> ${prose((response as Json).description)}</p>
${fields?.properties && status === "200" ? renderFields(fields) : ""}`;
    })
  }
</section>`;
}

/** Text whose words between backquotes are code. */
function prose(text: unknown) {
  const parts = typeof text === "string" ? text.split("`") : [];
  return parts.map((part, k) => k % 2 === 0 ? part : html`<code>${part}</code>`);
}

function renderFields(schema: Json) {
  const required = (schema.required ?? []) as string[];
  const rows = Object.entries((schema.properties ?? {}) as Record<string, Json>);
  return html`
    <div class="scroll">
      <table>
    <tr><th>Field</th><th>Type</th><th></th></tr>
    ${rows.map(([name, field]) =>
      html`
        <tr>
          <td><code>${name}</code>${required.includes(name) ? " *" : ""}</td>
          <td>${typeName(field)}</td>
          <td>${field.description ?? ""} <small>${range(field)}</small></td>
        </tr>
      `
    )}
      </table>
    </div>
  `;
}

function jsonSchemaOf(part: Json | undefined): Json | undefined {
  const content = part?.content as Record<string, Json> | undefined;
  return content?.["application/json"]?.schema as Json | undefined;
}

function resolve(schema: Json, schemas: Json): Json {
  const name = typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : undefined;
  return name === undefined ? schema : (schemas[name] ?? {}) as Json;
}

function typeName(field: Json): string {
  if (typeof field.$ref === "string") return field.$ref.split("/").at(-1) ?? "";
  if (Array.isArray(field.enum)) return field.enum.map((value) => JSON.stringify(value)).join(", ");
  const kinds = Array.isArray(field.type)
    ? field.type.filter((kind) => kind !== "null")
    : [field.type];
  if (kinds[0] === "array") return `array of ${typeName((field.items ?? {}) as Json)}`;
  return kinds.filter(Boolean).join(" or ");
}

function range(field: Json): string {
  const parts: string[] = [];
  if (field.minimum !== undefined) parts.push(`${field.minimum} to ${field.maximum ?? "any"}`);
  if (field.multipleOf !== undefined) parts.push(`multiple of ${field.multipleOf}`);
  if (field.maxLength !== undefined) parts.push(`up to ${field.maxLength} characters`);
  if (field.default !== undefined) parts.push(`default ${JSON.stringify(field.default)}`);
  return parts.join("; ");
}
