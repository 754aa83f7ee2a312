//! The git projection: one commit for each record that changes a tree, merge commits where lines of work meet,
//! `main` at the frontier's own (I1). See `docs/formats.md`, Git.

use std::collections::BTreeSet;

use aios_core::commit::Legend;
use aios_core::frontier::View;
use aios_core::history::History;
use aios_core::id::{DocId, GitId, RecordId};
use aios_core::item::{Item, Kind};
use aios_core::planted::{Bug, planted};
use aios_core::record::{Author, Body};
use git2::{ObjectType, Oid};
use rusqlite::{OptionalExtension, params};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::git::{self, Objects};
use crate::show::Change;
use crate::vault::{Progress, RecordRow, Vault, git_error};

/// From this many items on, objects go into a pack instead of files of their own.
const BULK: i64 = 128;
/// zlib's fastest: history is packed again later.
const LEVEL: u32 = 1;

/// A commit, its tree, and the records it stands for.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub commit: Oid,
    pub root: Oid,
    pub view: View,
}

/// What of a body the projection reads.
#[derive(Deserialize)]
struct Caption<'a> {
    #[serde(default)]
    message: String,
    #[serde(default)]
    author: Author,
    #[serde(default)]
    run: Option<String>,
    #[serde(default)]
    task: Option<String>,
    #[serde(default)]
    approved_by: Option<String>,
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    t: &'a str,
}

pub(crate) fn oid(git: &GitId) -> Result<Oid, Error> {
    Oid::from_bytes(git.as_bytes()).map_err(git_error)
}

pub(crate) fn git_id(oid: &Oid) -> GitId {
    GitId::from_slice(oid.as_bytes()).unwrap_or(GitId([0; 20]))
}

impl Vault {
    /// The commit of all integrated records as far as it is computed already.
    pub(crate) fn projected_head(&self) -> Result<Option<Oid>, Error> {
        let heads = self.commit_heads(&self.heads()?)?;
        match heads[..] {
            [] => Ok(None),
            [one] => Ok(self.row(one)?.commit),
            _ => {
                let ids = self.ids(&heads)?;
                Ok(self.merged(&ids)?.map(|(commit, _)| commit))
            }
        }
    }

    /// The records that a commit of the projection stands for; `None` for one that is not of the projection.
    pub(crate) fn view_of_commit(&mut self, commit: Oid) -> Result<Option<View>, Error> {
        let row: Option<i64> = self
            .db
            .prepare_cached("SELECT n FROM record WHERE git = ?")?
            .query_row([commit.as_bytes()], |row| row.get(0))
            .optional()?;
        if let Some(n) = row {
            return Ok(Some(self.row(n)?.view));
        }
        let ids = match git::commit(&self.repo, commit) {
            Ok(found) => Legend::merged(&String::from_utf8_lossy(&found.message)),
            Err(_) => return Ok(None),
        };
        let mut heads = Vec::new();
        for id in &ids {
            let mut get = self.db.prepare_cached("SELECT n FROM record WHERE id = ?")?;
            match get.query_row([id.as_bytes()], |row| row.get(0)).optional()? {
                // One that is held has no commit.
                Some(n) if self.row(n)?.commit.is_some() => heads.push(n),
                _ => return Ok(None),
            }
        }
        let repo = git2::Repository::open(self.root()).map_err(git_error)?;
        let point = self.point(&heads, &mut git::Loose::new(&repo, false)?)?;
        git::sync(&repo)?;
        // A message can be copied: only the commit that those records give is theirs.
        Ok(point.filter(|point| point.commit == commit).map(|point| point.view))
    }

    fn ids(&self, records: &[i64]) -> Result<Vec<RecordId>, Error> {
        let mut ids: Vec<RecordId> =
            records.iter().map(|n| Ok(self.row(*n)?.id)).collect::<Result<_, Error>>()?;
        ids.sort();
        Ok(ids)
    }

    fn merged(&self, ids: &[RecordId]) -> Result<Option<(Oid, Oid)>, Error> {
        let mut get = self.db.prepare_cached("SELECT git, root FROM merge WHERE heads = ?")?;
        let row: Option<(Vec<u8>, Vec<u8>)> =
            get.query_row([merge_key(ids)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        row.map(|(git, root)| {
            Ok((Oid::from_bytes(&git).map_err(git_error)?, Oid::from_bytes(&root).map_err(git_error)?))
        })
        .transpose()
    }

    /// Computes every commit that is missing, writes its objects, and gives the commit of all integrated records.
    pub(crate) fn project(&mut self, progress: Progress<'_>) -> Result<Option<Point>, Error> {
        let waiting: Vec<i64> = {
            let mut get = self.db.prepare_cached(
                "SELECT n FROM record WHERE tree = 1 AND git IS NULL AND held = 0 ORDER BY n",
            )?;
            let rows = get.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let heads = self.commit_heads(&self.heads()?)?;
        if waiting.is_empty()
            && let [one] = heads[..]
        {
            let row = self.row(one)?;
            if let (Some(commit), Some(root)) = (row.commit, row.root) {
                return Ok(Some(Point { commit, root, view: row.view }));
            }
        }
        let items: i64 = match waiting.first() {
            Some(first) => self
                .db
                .prepare_cached("SELECT count(*) FROM item WHERE record >= ?")?
                .query_row([first], |row| row.get(0))?,
            None => 0,
        };
        let repo = git2::Repository::open(self.root()).map_err(git_error)?;
        let point = match items >= BULK {
            true => {
                let mut bulk = git::Bulk::new(&repo, LEVEL)?;
                let point = self.project_into(&waiting, &heads, &mut bulk, progress);
                bulk.finish(false)?;
                point
            }
            false => {
                let mut loose = git::Loose::new(&repo, false)?;
                self.project_into(&waiting, &heads, &mut loose, progress)
            }
        };
        // The database names these objects once it is committed, whether a branch does or not (I9).
        git::sync(&repo)?;
        match point {
            // A text that others forgot, and no record that came so far names what it was merged to: one that does is to come.
            Err(Error::Apart(git)) => {
                tracing::warn!(%git, "a text is not here, and nothing is projected beyond it");
                Ok(None)
            }
            Err(Error::Past) => {
                tracing::warn!("older history is not here, and nothing is projected beyond it");
                Ok(None)
            }
            // The tree of a commit that lies before the snapshot.
            Err(Error::Git(git::Error::Missing(id))) if self.lacks_past() => {
                tracing::warn!(%id, "older history is not here, and nothing is projected beyond it");
                Ok(None)
            }
            point => point,
        }
    }

    pub(crate) fn project_into(
        &mut self,
        waiting: &[i64],
        heads: &[i64],
        objects: &mut dyn Objects,
        progress: Progress<'_>,
    ) -> Result<Option<Point>, Error> {
        for (done, n) in waiting.iter().enumerate() {
            progress("commits", done as u64, waiting.len() as u64);
            self.project_one(*n, objects)?;
        }
        self.point(heads, objects)
    }

    /// Computes the commit of one record whose past has its own.
    pub(crate) fn project_one(&mut self, n: i64, objects: &mut dyn Objects) -> Result<(), Error> {
        let Point { commit, root, .. } = self.project_record(n, objects)?;
        let mut put = self.db.prepare_cached("UPDATE record SET git = ?, root = ? WHERE n = ?")?;
        put.execute(params![commit.as_bytes(), root.as_bytes(), n])?;
        Ok(())
    }

    /// The commit of a set of commit heads.
    pub(crate) fn point(&mut self, heads: &[i64], objects: &mut dyn Objects) -> Result<Option<Point>, Error> {
        let rows: Vec<RecordRow> = heads.iter().map(|n| self.row(*n)).collect::<Result<_, _>>()?;
        let known = |row: &RecordRow| match (row.commit, row.root) {
            (Some(commit), Some(root)) => Ok(Point { commit, root, view: row.view.clone() }),
            _ => Err(Error::Damaged(format!("record {} is not projected", row.place))),
        };
        let Some(last) = rows.iter().max_by_key(|row| row.n) else { return Ok(None) };
        if rows.len() == 1 {
            return known(last).map(Some);
        }
        let ids: Vec<RecordId> = {
            let mut ids: Vec<RecordId> = rows.iter().map(|row| row.id).collect();
            ids.sort();
            ids
        };
        let view = rows.iter().fold(View::new(), |view, row| view.union(&row.view));
        if let Some((commit, root)) = self.merged(&ids)? {
            return Ok(Some(Point { commit, root, view }));
        }
        let base = known(last)?;
        let root = self.tree(&base, &view, objects)?;
        let mut parents = BTreeSet::new();
        for row in &rows {
            parents.insert(known(row)?.commit.to_string());
        }
        let parents: Vec<GitId> = parents.iter().filter_map(|hex| hex.parse().ok()).collect();
        let parents = match planted(Bug::MergeUnsorted) {
            true => rows.iter().filter_map(|row| row.commit.as_ref().map(git_id)).collect(),
            false => parents,
        };
        let commit = match parents[..] {
            [one] => oid(&one)?,
            _ => {
                let wall = rows.iter().map(|row| row.wall).max().unwrap_or_default();
                let raw = Legend::of_merge(&ids, wall).commit(&git_id(&root), &parents);
                objects.write(ObjectType::Commit, &raw)?
            }
        };
        self.db.prepare_cached("INSERT OR REPLACE INTO merge VALUES(?, ?, ?)")?.execute(params![
            merge_key(&ids),
            commit.as_bytes(),
            root.as_bytes()
        ])?;
        Ok(Some(Point { commit, root, view }))
    }

    /// The tree of a view, from that of an earlier one.
    fn tree(&mut self, base: &Point, view: &View, objects: &mut dyn Objects) -> Result<Oid, Error> {
        let changes = self.changes(&base.view, view)?;
        self.edit_tree(Some(base.root), view, &changes, objects)
    }

    fn edit_tree(
        &mut self,
        base: Option<Oid>,
        view: &View,
        changes: &[Change],
        objects: &mut dyn Objects,
    ) -> Result<Oid, Error> {
        let mut edits: Vec<git::Change> = Vec::with_capacity(changes.len());
        let kept: BTreeSet<&str> =
            changes.iter().filter_map(|change| Some(change.new.as_ref()?.path.as_str())).collect();
        for change in changes {
            if let Some(old) = &change.old
                && !kept.contains(old.as_str())
            {
                edits.push((old.as_bytes().to_vec(), None));
            }
            if let Some(new) = &change.new {
                let blob = oid(&new.content.git)?;
                if new.kind != Kind::Blob {
                    self.write_blob(&change.doc, view, &new.content.git, objects)?;
                }
                edits.push((new.path.as_bytes().to_vec(), Some((new.mode.bits(), blob))));
            }
        }
        Ok(git::edit_tree(objects, base, &edits)?)
    }

    fn write_blob(
        &mut self,
        doc: &DocId,
        view: &View,
        git: &GitId,
        objects: &mut dyn Objects,
    ) -> Result<(), Error> {
        if *git == GitId::blob(b"") {
            return Ok(objects.write(ObjectType::Blob, b"").map(drop)?);
        }
        if self.is_forgotten(doc)? {
            return Ok(());
        }
        let bytes = match self.recent.get(git) {
            Some(bytes) => bytes,
            None => {
                if objects.has(oid(git)?) {
                    return Ok(());
                }
                let touches = self.history().touches(doc)?;
                match aios_core::fold::fold(&touches, &[], view) {
                    Some(found) => match self.bytes_of_text(doc, &touches, view, &found.text) {
                        // The tree names it all the same, as it does on every device.
                        Err(Error::Apart(_)) => return Ok(()),
                        bytes => bytes?,
                    },
                    None => return Err(Error::Document { doc: *doc, why: "it has no content".into() }),
                }
            }
        };
        let written = objects.write(ObjectType::Blob, &bytes)?;
        match written == oid(git)? {
            true => Ok(()),
            false => Err(Error::Document { doc: *doc, why: format!("its content is not blob {git}") }),
        }
    }

    fn project_record(&mut self, n: i64, objects: &mut dyn Objects) -> Result<Point, Error> {
        let row = self.row(n)?;
        let record = self.log.record(&row.place.device, row.spot)?;
        let place = row.place;
        let malformed = |e: serde_json::Error| aios_core::record::RecordError::Body(place, e.to_string());
        let caption: Caption<'_> = serde_json::from_slice(&record.body_line).map_err(malformed)?;
        let mut special = self.special_items(&row)?;
        for raw in &caption.items {
            let tag: Tag<'_> = serde_json::from_str(raw.get()).map_err(malformed)?;
            if matches!(tag.t, "history" | "commit") {
                special.push(serde_json::from_str(raw.get()).map_err(malformed)?);
            }
        }
        let heads = self.commit_heads(&self.past_of_transaction(&row)?)?;
        let base = self.point(&heads, objects)?;
        let from = base.as_ref().map(|point| point.view.clone()).unwrap_or_default();
        let changes = self.changes(&from, &row.view)?;
        let root = self.edit_tree(base.as_ref().map(|point| point.root), &row.view, &changes, objects)?;
        let mut parents: Vec<GitId> = base.iter().map(|point| git_id(&point.commit)).collect();
        for item in &special {
            if let Item::History { tip } = item
                && !parents.contains(tip)
            {
                parents.push(*tip);
            }
        }
        let commits: Vec<(&Vec<u8>, &GitId)> = special
            .iter()
            .filter_map(|item| match item {
                Item::Commit { raw, git } => Some((&raw.0, git)),
                _ => None,
            })
            .collect();
        if let [(raw, git)] = commits[..]
            && GitId::object("commit", raw) == *git
            && taken(oid(git)?, raw, root, &parents)
        {
            let commit = objects.write(ObjectType::Commit, raw)?;
            return Ok(Point { commit, root, view: row.view });
        }
        for (_, git) in commits {
            if !parents.contains(git) {
                parents.push(*git);
            }
        }
        let body = Body {
            message: caption.message,
            author: caption.author,
            run: caption.run,
            task: caption.task,
            approved_by: caption.approved_by,
            ..Body::default()
        };
        let raw = Legend::of_record(&row.id, &record.header, &body).commit(&git_id(&root), &parents);
        let commit = objects.write(ObjectType::Commit, &raw)?;
        Ok(Point { commit, root, view: row.view })
    }

    /// The `history` and `commit` items in the earlier parts of a transaction.
    fn special_items(&mut self, row: &RecordRow) -> Result<Vec<Item>, Error> {
        let mut out = Vec::new();
        for n in self.earlier_parts(row)? {
            let part = self.row(n)?;
            let record = self.log.record(&part.place.device, part.spot)?;
            let special = |item: &Item| matches!(item, Item::History { .. } | Item::Commit { .. });
            out.extend(record.body()?.items.into_iter().filter(special));
        }
        Ok(out)
    }

    /// The numbers of the parts of a transaction before the record that ends it.
    pub(crate) fn earlier_parts(&self, row: &RecordRow) -> Result<Vec<i64>, Error> {
        let mut get = self
            .db
            .prepare_cached("SELECT n FROM record WHERE device = ? AND ends = ? AND n < ? ORDER BY n")?;
        let rows = get.query_map(params![row.place.device.as_bytes(), row.n, row.n], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The records that a transaction directly builds on.
    fn past_of_transaction(&self, row: &RecordRow) -> Result<Vec<i64>, Error> {
        match self.earlier_parts(row)?.first() {
            Some(first) => Ok(self.row(*first)?.parents),
            None => Ok(row.parents.clone()),
        }
    }
}

/// Whether a commit made with git is what this record's commit would be, but for its legend.
fn taken(id: Oid, raw: &[u8], root: Oid, parents: &[GitId]) -> bool {
    git::Commit::parse(id, raw).is_ok_and(|commit| {
        commit.tree == root && commit.parents.iter().map(git_id).eq(parents.iter().copied())
    })
}

fn merge_key(ids: &[RecordId]) -> String {
    ids.iter().map(RecordId::hex).collect::<Vec<_>>().join(" ")
}
