//! Parsers of what comes from disk or wire, and edits and merges of what they read, on samples, on what fuzzing found, and on mutations of both.
//!
//! `AIOS_FUZZ` sets how many mutations each target gets, `AIOS_SEED` where they start. A failing input is printed as a literal; put into
//! `tests/corpus/TARGET/` it is tried ever after.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use aios_tests::merge;
use aios_tests::parse::{TARGETS, Target};

const MUTATIONS: u64 = 3_000;
/// Documents cost a hundred times what a parser does.
const MERGES: u64 = 100;
/// No input grows beyond this.
const LARGEST: usize = 4_096;
const TOKENS: [&[u8]; 14] = [
    b"---\n",
    b"\r\n",
    b"\n",
    b": ",
    b"- ",
    b"[",
    b"\"",
    b"\\u0000",
    b"{\"",
    b"null",
    b"-1",
    b"99999999999999999999",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
];

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

fn mutated(inputs: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut out = inputs[chance.below(inputs.len())].clone();
    for _ in 0..1 + chance.below(4) {
        let at = chance.below(out.len() + 1);
        let end = (at + 1 + chance.below(16)).min(out.len());
        match chance.below(7) {
            0 if at < out.len() => out[at] ^= 1 << chance.below(8),
            1 if at < out.len() => out[at] = chance.next() as u8,
            2 if at < end => _ = out.drain(at..end),
            3 if at < end => {
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
            4 => out.truncate(at),
            5 => {
                let other = &inputs[chance.below(inputs.len())];
                let from = chance.below(other.len() + 1);
                let to = (from + chance.below(64)).min(other.len());
                out.splice(at..at, other[from..to].iter().copied());
            }
            _ => _ = out.splice(at..at, TOKENS[chance.below(TOKENS.len())].iter().copied()),
        }
    }
    out.truncate(LARGEST);
    out
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let files = fs::read_dir(folder).into_iter().flatten();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

fn bears(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        panic!("{} does not bear b\"{}\"", target.name, input.escape_ascii());
    }
}

#[test]
fn they_bear_samples_findings_and_mutations_of_them() {
    let seed = number("AIOS_SEED", 1);
    let parsers = TARGETS.iter().map(|target| (target, MUTATIONS));
    let merges = merge::TARGETS.iter().map(|target| (target, MERGES));
    std::thread::scope(|scope| {
        for (target, mutations) in parsers.chain(merges) {
            let mutations = number("AIOS_FUZZ", mutations);
            scope.spawn(move || {
                let mut inputs = (target.samples)();
                inputs.extend(corpus(target));
                inputs.iter().for_each(|input| bears(target, input));
                let mut chance = Chance(seed);
                for _ in 0..mutations {
                    bears(target, &mutated(&inputs, &mut chance));
                }
            });
        }
    });
}
