// Reads a vault from its log alone and prints what it holds: node read.mjs [--deep] VAULT_DIR

import { fileURLToPath } from "node:url";
import { readLog } from "./log.mjs";
import { Vault } from "./vault.mjs";

/** Everything the log of a vault says, with every check that failed. */
export function read(directory, options) {
  const findings = [];
  const found = (check, where, what) => findings.push({ check, where, what });
  const chains = readLog(directory, found);
  const result = { ok: false, records: 0, documents: 0, commits: 0, head: null, files: {} };
  try {
    const vault = new Vault(chains, found, options);
    result.records = vault.records.length;
    if (!vault.readable) return { ...result, findings };
    const files = vault.files(vault.view);
    result.documents = files.size;
    result.head = vault.head(vault.view);
    result.commits = vault.transactions.filter(({ commits }) => commits).length + vault.merges;
    for (const path of [...files.keys()].sort()) result.files[path] = files.get(path).hash;
  } catch (error) {
    found("reader", "", String(error?.stack ?? error));
  }
  if (result.records === 0) found("log", directory, "no records");
  return { ...result, ok: findings.length === 0, findings };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const deep = process.argv[2] === "--deep";
  const [directory, ...others] = process.argv.slice(deep ? 3 : 2);
  if (directory === undefined || others.length > 0) {
    console.error("usage: node read.mjs [--deep] VAULT_DIR");
    process.exit(2);
  }
  const result = read(directory, { deep });
  console.log(JSON.stringify(result));
  process.exitCode = result.ok ? 0 : 4;
}
