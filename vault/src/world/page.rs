//! `docs/merging.md` holds: every case of it, in process.

use std::collections::BTreeSet;

use super::World;

#[path = "../../../tests/src/page.rs"]
mod parts;

#[test]
fn every_case_of_the_page_about_merging() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/merging.md");
    let cases = parts::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 30, "{}", cases.len());
    let mut world = World::new(parts::DEVICES.len());
    let rounds = cases.iter().map(|case| case.rounds.len()).max().unwrap_or(0);
    let mut wrong = Vec::new();
    for round in 0..rounds {
        for device in 0..parts::DEVICES.len() {
            for case in &cases {
                let Some(round) = case.rounds.get(round) else { continue };
                round.run(device, &world.root(device).join(&case.folder)).unwrap();
            }
        }
        world.sync();
        hand_over_blobs(&mut world);
        world.sync();
        for case in &cases {
            let Some(round) = case.rounds.get(round).filter(|round| round.is_checked()) else { continue };
            for device in 0..parts::DEVICES.len() {
                let files = parts::files(&world.root(device).join(&case.folder)).unwrap();
                let differences = round.differences(&files, &conflicts(&world, device, &case.folder));
                if !differences.is_empty() {
                    wrong.push(format!(
                        "{}, {}:\n  {}",
                        case.title,
                        parts::DEVICES[device],
                        differences.join("\n  ")
                    ));
                    break;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the page and what happens differ\n{}", wrong.join("\n"));
    world.assert_equal();
}

/// Gives every replica the blobs it lacks.
fn hand_over_blobs(world: &mut World) {
    for to in 0..world.replicas.len() {
        for (oid, _) in world.replicas[to].missing_apart().unwrap() {
            let git = crate::project::git_id(&oid);
            let bytes = world.replicas.iter_mut().find_map(|vault| vault.blob(&git).unwrap()).unwrap();
            world.replicas[to].store_blob(bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
    }
}

/// The conflicts below a folder, as the page writes them.
fn conflicts(world: &World, device: usize, folder: &str) -> BTreeSet<String> {
    let vault = &world.replicas[device];
    let line = |conflict: crate::conflict::Conflict| {
        let placement = vault.placement(&conflict.doc).unwrap()?;
        let path = placement.path.strip_prefix(&format!("{folder}/"))?;
        let kind = serde_json::to_value(conflict.kind).unwrap();
        let key = conflict.key.map_or_else(String::new, |key| format!(" {key}"));
        Some(format!("{} {path}{key}", kind.as_str().unwrap_or_default()))
    };
    vault.conflict_rows().unwrap().into_iter().filter_map(line).collect()
}
