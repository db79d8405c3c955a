"use strict";
// The API's pages: /openapi.json, made readable.

const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

/** A schema with the schemas that it names put in, so deep. */
function resolve(schema, schemas, depth = 4) {
  if (!schema || typeof schema !== "object") return schema;
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 0 ? resolve(schemas[name], schemas, depth - 1) : name;
  }
  if (Array.isArray(schema)) return schema.map((one) => resolve(one, schemas, depth));
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value, schemas, depth)]));
}

function operation(path, method, about, schemas) {
  const made = element("details", undefined, { class: "path" });
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), { class: "method" }), element("code", path),
    ` ${about.summary || about.description || ""}`);
  made.append(summary);
  for (const parameter of about.parameters || []) {
    const text = `${parameter.name} (${parameter.in}${parameter.required ? ", required" : ""})`;
    made.append(element("p", `${text}: ${parameter.description || ""}`));
  }
  const schema = (title, content) => {
    for (const [kind, value] of Object.entries(content || {})) {
      made.append(element("p", `${title}, ${kind}:`));
      made.append(element("pre", JSON.stringify(resolve(value.schema, schemas), null, 2)));
    }
  };
  schema("Body", about.requestBody?.content);
  for (const [status, answer] of Object.entries(about.responses || {})) schema(`Answer ${status}`, answer.content);
  return made;
}

async function main() {
  const api = await (await fetch("/openapi.json")).json();
  const paths = document.getElementById("paths");
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, about] of Object.entries(methods)) {
      const tag = about.tags?.[0] || "other";
      groups.set(tag, [...(groups.get(tag) || []), operation(path, method, about, api.components.schemas)]);
    }
  }
  for (const [tag, operations] of groups) paths.append(element("h2", tag), ...operations);
  document.getElementById("filter").addEventListener("input", (event) => {
    for (const one of paths.querySelectorAll(".path")) {
      one.hidden = !one.querySelector("summary").textContent.toLowerCase().includes(event.target.value.toLowerCase());
    }
  });
}

main();
