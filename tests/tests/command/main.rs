//! What a user meets: the `aios` command and its daemons as real processes, on real files, and the pages that tell of them.
//!
//! One program for all of it: forty would link the same libraries forty times, and the ends of one would wait for the next.

mod companies;
mod crash;
mod demo;
mod export;
mod faults;
mod folder;
mod forget;
mod git_by_hand;
mod guide;
mod history;
mod homes;
mod licences;
mod live;
mod members;
mod merging;
mod models;
mod names_and_limits;
mod network;
mod on_demand;
mod parsers;
mod recovery;
mod replay;
mod repository;
mod room;
mod routes;
mod sealed;
mod structure;
mod work;
