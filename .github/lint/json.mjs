// The workflow parser imports its schema without saying that it is JSON, which Node wants to be told.
import { register } from "node:module";

const hook = `
export async function resolve(specifier, context, next) {
  const found = await next(specifier, context);
  return found.url.endsWith(".json") ? { ...found, importAttributes: { type: "json" } } : found;
}`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
