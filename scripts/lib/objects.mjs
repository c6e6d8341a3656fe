// Checks objects of ArgoCD, Argo Rollouts and the Prometheus operator against the types and schemas of their definitions,
// as npm packages carry them. Two looks: the compiler's, to which a key that the type does not have is an error, and the
// package's own schema, which knows formats and lists of values.
//   node objects.mjs DIRECTORY OBJECTS.json      DIRECTORY has node_modules and is written to
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "argoproj.io/v1alpha1": { Application: "argo-cd", AppProject: "argo-cd", Rollout: "argo-rollouts", AnalysisTemplate: "argo-rollouts" },
  "monitoring.coreos.com/v1": { ServiceMonitor: "prometheus-operator", PrometheusRule: "prometheus-operator" },
};

const [directory, file] = process.argv.slice(2).map((path) => resolve(path));
const objects = JSON.parse(readFileSync(file, "utf8"));
let bad = 0;
const complain = (text) => { bad += 1; console.error(text); };

const source = [];
for (const [index, object] of objects.entries()) {
  const name = `${object.kind} ${object.metadata?.name}`;
  const owner = PACKAGES[object.apiVersion]?.[object.kind];
  if (!owner) { complain(`${name}: no schema for ${object.apiVersion} ${object.kind}`); continue; }
  const module = `@kubernetes-models/${owner}/${object.apiVersion}/${object.kind}`;
  source.push(`import type { I${object.kind} as T${index} } from ${JSON.stringify(module)};`);
  // On a line of its own each, so that the compiler's place says which object it means.
  source.push(`export const o${index}: T${index} = ${JSON.stringify(object)};`);
  const made = new (await import(pathToFileURL(join(directory, "node_modules", `${module}.js`))))[object.kind](object);
  try { made.validate(); } catch (error) { complain(`${name}: ${error.message}`); }
}
writeFileSync(join(directory, "objects.ts"), source.join("\n") + "\n");
try {
  const compiler = join(directory, "node_modules/.bin/tsc");
  execFileSync(compiler, ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "objects.ts"], { cwd: directory, encoding: "utf8" });
} catch (error) {
  complain(`${error.stdout || error.message}`);
}
console.log(`${objects.length} objects`);
process.exit(bad === 0 ? 0 : 1);
