// Writes the examples of a guide as programs: `node guide.mjs GUIDE FOLDER`.
//
// Each program compares what it prints with what the guide says, which is what follows `// →`.

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [guide, folder] = process.argv.slice(2);
const text = readFileSync(guide, "utf8");
const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map((match) => match[1]);
if (examples.length === 0) throw new Error(`${guide} has no example`);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
examples.forEach((example, index) => {
  const said = [...example.matchAll(/ {2}\/\/ → (.*)$/gm)].map((match) => match[1]);
  // The block's end comes before the check, and with it the end of every \`await using\`.
  const imports = example.match(/^import .*;\n/gm) ?? [];
  const body = example.replace(/^import .*;\n/gm, "");
  const program = `${imports.join("")}
const printed: string[] = [];
console.log = (...values: unknown[]) => {
  printed.push(values.map(String).join(" ").replaceAll("\\n", "↵"));
};
{
${body}}
const said: string[] = ${JSON.stringify(said)};
if (JSON.stringify(printed) !== JSON.stringify(said)) {
  throw new Error(\`the guide says \${JSON.stringify(said)}, and \${JSON.stringify(printed)} was printed\`);
}
`;
  writeFileSync(join(folder, `example${index + 1}.ts`), program);
});
