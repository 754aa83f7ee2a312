import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { blobId, commitId, mergeMessage, readCommit, treeId } from "../git.mjs";
import { bytesOf } from "../hash.mjs";

const who = (name, email, time) => ({
  GIT_AUTHOR_NAME: name, GIT_AUTHOR_EMAIL: email, GIT_AUTHOR_DATE: `@${time} +0000`,
  GIT_COMMITTER_NAME: name, GIT_COMMITTER_EMAIL: email, GIT_COMMITTER_DATE: `@${time} +0000`,
});

function repository(body) {
  const directory = mkdtempSync(join(tmpdir(), "reader-"));
  const git = (args, env = {}, input = "") =>
    execFileSync("git", args, { cwd: directory, input, env: { ...process.env, ...env } }).toString();
  try {
    git(["init", "-q", "."]);
    git(["config", "core.autocrlf", "false"]);
    return body(directory, git);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("trees and commits have the ids git gives them", () => {
  repository((directory, git) => {
    const files = new Map();
    const put = (path, text, mode = "100644") => {
      const at = join(directory, path);
      mkdirSync(dirname(at), { recursive: true });
      if (mode === "120000") symlinkSync(text, at);
      else writeFileSync(at, text);
      if (mode === "100755") chmodSync(at, 0o755);
      files.set(path, { mode, git: blobId(bytesOf(text)) });
    };
    put("a.txt", "dot sorts before slash\n");
    put("a/b.md", "text\n");
    put("a-b/c", "");
    put("a0", "zero\n");
    put("run.sh", "#!/bin/sh\n", "100755");
    put("link", "a.txt", "120000");
    put("Grüße/é 😀.md", "x\n");
    put("Grüße/ﬁ.md", "y\n");
    git(["add", "-A"]);
    const tree = git(["write-tree"]).trim();
    assert.equal(treeId(files), tree);

    const message = "Two\nlines\n\nAios-Record: 12\n";
    const first = git(["commit-tree", tree], who("Ä B", "a@b", 12345), message).trim();
    assert.equal(commitId({ tree, parents: [], author: { name: "Ä< B>\n", email: "<a@b>" }, time: 12345, message }), first);
    const second = git(["commit-tree", tree, "-p", first], who("aios", "merge@aios", 7), message).trim();
    const parents = [first, second].sort();
    const merge = git(
      ["commit-tree", tree, "-p", parents[0], "-p", parents[1]],
      who("aios", "merge@aios", 9),
      mergeMessage(["b", "a"]),
    ).trim();
    assert.equal(
      commitId({ tree, parents, author: { name: "aios", email: "merge@aios" }, time: 9, message: mergeMessage(["a", "b"]) }),
      merge,
    );
    const raw = Buffer.from(git(["cat-file", "commit", merge])).toString("base64");
    assert.deepEqual(readCommit(raw), { id: merge, tree, parents });
  });
});

test("the empty tree", () => {
  assert.equal(treeId(new Map()), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
});
